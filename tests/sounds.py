"""Clips for tests of audio encoders, and small transformers audio models with random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTModel,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    HubertConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperModel,
)

from pipeline.encoders import Encoder
from tests.media_files import clip

RATE_HZ = 16_000
SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
RAW: dict[str, Any] = {
    **SIZES,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "vocab_size": 8,
}
FAMILIES = ("ast", "wav2vec2", "wav2vec2 layer norm", "hubert", "whisper", "clap", "clap fusion")
FIXED_SECONDS = {"ast": (400 + 63 * 160) / RATE_HZ, "whisper": 1, "clap": 1, "clap fusion": 1}


def checkpoint(family: str) -> tuple[Any, Any]:
    """A small model with random weights and its feature extractor."""
    torch.manual_seed(3)
    if family == "ast":
        config = ASTConfig(**SIZES, max_length=64, num_mel_bins=32, patch_size=8, frequency_stride=5, time_stride=5)
        return ASTModel(config), ASTFeatureExtractor(num_mel_bins=32, max_length=64)
    if family == "whisper":
        config = WhisperConfig(
            d_model=16,
            encoder_layers=2,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=32,
            decoder_ffn_dim=32,
            num_mel_bins=16,
            max_source_positions=50,
            max_target_positions=8,
            vocab_size=60,
            pad_token_id=1,
            bos_token_id=2,
            eos_token_id=3,
            decoder_start_token_id=4,
        )
        return WhisperModel(config), WhisperFeatureExtractor(feature_size=16, chunk_length=1)
    if family.startswith("clap"):
        return clap(fusion="fusion" in family)
    if family == "hubert":
        return HubertModel(HubertConfig(**RAW)), Wav2Vec2FeatureExtractor()
    if "layer norm" in family:
        config = Wav2Vec2Config(**RAW, feat_extract_norm="layer", do_stable_layer_norm=True, conv_bias=True)
        return Wav2Vec2Model(config), Wav2Vec2FeatureExtractor(return_attention_mask=True)
    return Wav2Vec2Model(Wav2Vec2Config(**RAW)), Wav2Vec2FeatureExtractor()


def clap(fusion: bool) -> tuple[Any, Any]:
    audio = {
        "spec_size": 64,
        "num_mel_bins": 16,
        "depths": [1, 1],
        "num_attention_heads": [2, 2],
        "num_hidden_layers": 2,
        "patch_embeds_hidden_size": 8,
        "hidden_size": 16,
        "patch_size": 4,
        "patch_stride": [4, 4],
        "window_size": 4,
        "enable_fusion": fusion,
        "enable_patch_layer_norm": True,
    }
    text = {**SIZES, "vocab_size": 60, "max_position_embeddings": 40}
    extractor = ClapFeatureExtractor(
        feature_size=16,
        sampling_rate=8_000,
        max_length_s=1,
        hop_length=80,
        fft_window_size=256,
        frequency_max=4_000,
        truncation="fusion" if fusion else "rand_trunc",
    )
    return ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=12)), extractor


def write_checkpoint(family: str, folder: Path) -> Path:
    network, extractor = checkpoint(family)
    generator = torch.Generator().manual_seed(5)
    for weight in network.parameters():
        # Larger than what training starts from: vectors of unlike clips must differ visibly.
        if weight.ndim > 1:
            weight.data.normal_(0, 0.3, generator=generator)
    network.eval().save_pretrained(folder)
    extractor.save_pretrained(folder)
    return folder


def sound(seconds: float, seed: int = 0, rate_hz: int = RATE_HZ) -> np.ndarray:
    """A tone that rises, with noise: float32."""
    generator = np.random.default_rng(seed)
    at = np.arange(int(seconds * rate_hz)) / rate_hz
    tone = 0.4 * np.sin(2 * np.pi * (200 + 300 * seed + 400 * at) * at)
    return (tone + 0.1 * generator.standard_normal(len(at))).clip(-1, 1).astype(np.float32)


def wav(samples: np.ndarray, rate_hz: int = RATE_HZ) -> bytes:
    return clip("WAV", "FLOAT", samples, rate_hz)


def embed(encoder: Encoder, *clips: bytes) -> np.ndarray:
    return encoder.embed([encoder.decode(raw) for raw in clips])


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
