from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTModel,
    AutoModel,
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

from pipeline.config import Config
from pipeline.encoders import make
from pipeline.encoders.audio.kinds.transformers import TransformerAudioEncoder
from pipeline.encoders.base import Prepared
from pipeline.errors import ConfigError, MediaError, WeightsError

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


def write(family: str, folder: Path) -> Path:
    network, extractor = checkpoint(family)
    generator = torch.Generator().manual_seed(5)
    for weight in network.parameters():
        # Larger than what training starts from: vectors of unlike clips must differ visibly.
        if weight.ndim > 1:
            weight.data.normal_(0, 0.3, generator=generator)
    network.eval().save_pretrained(folder)
    extractor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(family, tmp_path_factory.mktemp("audio"))


def encoder_of(folder: Path, **settings: object) -> TransformerAudioEncoder:
    audio = {"encoder": "transformers", "weights": f"path:{folder}", "seconds": 1, **settings}
    encoder = make(Config.model_validate({"extract": {"audio": audio}}), "audio")
    assert isinstance(encoder, TransformerAudioEncoder)
    return encoder


@pytest.fixture(scope="module")
def encoder(folder: Path) -> TransformerAudioEncoder:
    encoder = encoder_of(folder)
    encoder.load()
    return encoder


def sound(seconds: float, seed: int = 0, rate_hz: int = RATE_HZ) -> np.ndarray:
    """A tone that rises, with noise: float32."""
    generator = np.random.default_rng(seed)
    at = np.arange(int(seconds * rate_hz)) / rate_hz
    tone = 0.4 * np.sin(2 * np.pi * (200 + 300 * seed + 400 * at) * at)
    return (tone + 0.1 * generator.standard_normal(len(at))).clip(-1, 1).astype(np.float32)


def wav(samples: np.ndarray, rate_hz: int = RATE_HZ) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def embed(encoder: TransformerAudioEncoder, *clips: bytes) -> np.ndarray:
    return encoder.embed([encoder.decode(clip) for clip in clips])


def direct(folder: Path, family: str, samples: np.ndarray) -> np.ndarray:
    """One window's vector by transformers alone: the joint vector, or the mean of the frames of the window's sound."""
    network = AutoModel.from_pretrained(folder).eval()
    extractor = checkpoint(family)[1]
    inputs = extractor(samples, sampling_rate=extractor.sampling_rate, return_tensors="pt")
    with torch.inference_mode():
        if family.startswith("clap"):
            return network.get_audio_features(**inputs).pooler_output[0].numpy()
        if family == "whisper":
            frames = network.encoder(**inputs).last_hidden_state[0]
            return frames[: -(-len(samples) // 320)].mean(0).numpy()
        hidden = network(input_values=inputs["input_values"]).last_hidden_state[0]
        if family == "ast":
            columns = (64 - 8) // 5 + 1
            own = [column for column in range(columns) if column * 5 < 1 + (len(samples) - 400) // 160]
            return hidden[2:].reshape(-1, columns, 16)[:, own].mean((0, 1)).numpy()
        return hidden.mean(0).numpy()


def resampled(encoder: TransformerAudioEncoder, samples: np.ndarray) -> np.ndarray:
    from pipeline.media import open_audio

    return open_audio(wav(samples), encoder.sample_rate_hz, 60)


def test_a_vector_is_that_of_transformers_itself(encoder: TransformerAudioEncoder, folder: Path, family: str) -> None:
    for seconds in (0.31, 0.6):
        samples = sound(seconds)
        theirs = direct(folder, family, resampled(encoder, samples))
        np.testing.assert_allclose(embed(encoder, wav(samples))[0], theirs, atol=1e-4)


def test_a_vector_does_not_depend_on_its_batch(encoder: TransformerAudioEncoder) -> None:
    inputs = [encoder.decode(wav(sound(0.1 + 0.05 * row, row))) for row in range(32)]
    together = encoder.embed(inputs)
    alone = np.concatenate([encoder.embed([one]) for one in inputs])
    unit = [vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (together, alone)]
    np.testing.assert_allclose(*unit, atol=1e-5)
    assert np.linalg.norm(unit[0][0] - unit[0][-1]) > 1e-3


def test_a_longer_clip_is_the_mean_of_windows_that_end_with_it(
    encoder: TransformerAudioEncoder, folder: Path, family: str
) -> None:
    samples = sound(2.3)
    heard = resampled(encoder, samples)
    window = round(FIXED_SECONDS.get(family, 1) * encoder.sample_rate_hz)
    starts = [*range(0, len(heard) - window, window), len(heard) - window]
    assert len(starts) > 2
    theirs = np.mean([direct(folder, family, heard[start : start + window]) for start in starts], axis=0)
    np.testing.assert_allclose(embed(encoder, wav(samples))[0], theirs, atol=1e-4)


def test_a_clip_of_a_few_samples_has_a_vector_and_a_silent_one_a_reason(encoder: TransformerAudioEncoder) -> None:
    assert np.isfinite(embed(encoder, wav(np.full(7, 0.5, np.float32)))).all()
    with pytest.raises(MediaError, match="silent clip"):
        encoder.decode(wav(np.zeros(RATE_HZ, np.float32)))


@pytest.mark.parametrize(("rate_hz", "channels"), [(8_000, 1), (44_100, 2), (48_000, 6)])
def test_any_rate_and_number_of_channels_give_nearly_the_same_vector(
    encoder: TransformerAudioEncoder, rate_hz: int, channels: int
) -> None:
    def tone(rate_hz: int) -> np.ndarray:
        return 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(0.6 * rate_hz)) / rate_hz).astype(np.float32)

    many = np.repeat(tone(rate_hz)[:, None], channels, axis=1)
    one, other = embed(encoder, wav(tone(RATE_HZ)), wav(many, rate_hz))
    assert float(one @ other / np.linalg.norm(one) / np.linalg.norm(other)) > 0.98


def test_the_same_clip_gives_the_same_bytes_whatever_chance_says(folder: Path) -> None:
    clips = [wav(sound(2.3, seed)) for seed in range(3)]
    found = []
    for seed in (1, 2):
        np.random.seed(seed)
        torch.manual_seed(seed)
        encoder = encoder_of(folder)
        encoder.load()
        found.append(embed(encoder, *clips).tobytes())
    assert found[0] == found[1]


def test_openvino_gives_the_vectors_of_torch(encoder: TransformerAudioEncoder, folder: Path) -> None:
    other = encoder_of(folder)
    other.prepared = Prepared(engine="openvino")
    other.load()
    clips = [wav(sound(0.2 + 0.15 * row, row)) for row in range(5)]
    np.testing.assert_allclose(embed(other, *clips), embed(encoder, *clips), atol=1e-3)


@pytest.mark.parametrize("pooling", ["max", "attention"])
def test_every_pooling_is_another_vector_and_another_key(
    encoder: TransformerAudioEncoder, folder: Path, pooling: str
) -> None:
    other = encoder_of(folder, pooling=pooling)
    other.load()
    clip = wav(sound(0.5))
    ours, default = embed(other, clip)[0], embed(encoder, clip)[0]
    assert other.key != encoder.key
    assert ours.shape != default.shape or not np.allclose(ours, default, atol=1e-3)


def test_only_what_decides_a_vector_enters_the_key(encoder: TransformerAudioEncoder, folder: Path) -> None:
    assert encoder_of(folder, batch_rows=3, max_error_rate=0.5, max_bytes=9).key == encoder.key
    assert encoder_of(folder, max_seconds=5).key != encoder.key


def test_text_and_audio_of_one_clap_share_a_space(tmp_path: Path) -> None:
    write("clap", tmp_path)
    text = {"encoder": "transformer", "weights": f"path:{tmp_path}", "pooling": "joint"}
    beside = make(Config.model_validate({"extract": {"text": text}}), "text")
    assert encoder_of(tmp_path).space == encoder_of(tmp_path, pooling="joint").space == beside.space != ""
    assert encoder_of(tmp_path, pooling="mean").space == ""


def test_a_joint_space_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    encoder = encoder_of(write("hubert", tmp_path), pooling="joint")
    with pytest.raises(ConfigError, match=r"extract\.audio\.pooling.*has no joint space; choose mean"):
        encoder.load()


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ("config.json", "it holds no config.json"),
        ("preprocessor_config.json", "no feature extractor of transformers there"),
        ("model.safetensors", "the folder holds none of"),
    ],
)
def test_a_folder_that_lacks_something_is_one_sentence(tmp_path: Path, lost: str, said: str) -> None:
    (write("wav2vec2", tmp_path) / lost).unlink()
    with pytest.raises(WeightsError, match=said) as caught:
        encoder_of(tmp_path).load()
    assert "\n" not in str(caught.value)


def test_a_pickle_is_not_read(tmp_path: Path) -> None:
    write("wav2vec2", tmp_path)
    torch.save(Wav2Vec2Model(Wav2Vec2Config(**RAW)).state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="not a transformers folder with safetensors"):
        encoder_of(tmp_path).load()
