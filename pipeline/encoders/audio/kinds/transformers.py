"""Audio by a transformers model: AST, wav2vec 2.0 and its kin, HuBERT, Whisper's encoder, CLAP.

| clip | result |
|---|---|
| up to one window (`seconds`, or the fixed length of AST, Whisper and CLAP) | one pass; padding is masked |
| longer | one pass a window, the last one ending with the clip; averaged |
| longer than `max_seconds` | its beginning |
| only zeros | missing, "silent clip" |
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from pipeline.config.shared import HUB_CLAP, WEIGHTS_FROM, AudioSettings, Network
from pipeline.encoders.audio.clips import samples_of, windows
from pipeline.encoders.base import Input, Raw
from pipeline.encoders.engine.engines import Batch
from pipeline.encoders.engine.network import NetworkEncoder
from pipeline.errors import WeightsError

if TYPE_CHECKING:
    import torch

VERSION = 2
AST, CLAP, WHISPER = "audio-spectrogram-transformer", "clap", "whisper"
# AST's frames of 25 ms every 10 ms, at the 16 kHz that its extractor is written for.
AST_FRAME, AST_HOP = 400, 160


class TransformersAudio(Network, AudioSettings):
    """A transformers audio model: AST, wav2vec 2.0, HuBERT, Whisper's encoder, CLAP."""

    encoder: Literal["transformers"] = "transformers"
    weights: str = Field(HUB_CLAP, description=WEIGHTS_FROM)
    pooling: Literal["auto", "mean", "max", "attention", "joint"] = Field(
        "auto", description="over time; auto: the joint space where the model has one (CLAP), else mean"
    )
    seconds: float = Field(10, gt=0, description="length of one window; a longer clip is several, averaged")
    batch_rows: int = Field(8, ge=1, description="windows in one batch")


class TransformerAudioEncoder(NetworkEncoder):
    """Encodes a clip: `decode` gives what the weights' own extractor makes of each window, `embed` (n, d) float32.

    The vector is the model's place in its joint space (CLAP; of unit norm for a single window), or its last hidden
    state pooled over the frames of the window's own sound.
    """

    transformer = True
    Settings = TransformersAudio
    settings: TransformersAudio

    def __init__(self, settings: TransformersAudio) -> None:
        super().__init__(settings, ("transformers audio", VERSION), settings.batch_rows, settings.pooling)
        self.config = _config_of(self.folder, self.model)
        self.kind = str(self.config.get("model_type", ""))

    def build(self) -> torch.nn.Module:
        """Takes windows, and their mask where lengths vary; gives [n × d]. Raises WeightsError, ConfigError."""
        from pipeline.encoders.audio.networks import audio_network
        from pipeline.encoders.transformer_networks import load_model

        return audio_network(load_model(self.folder, self.model), self.settings.pooling, self.model)

    def load(self) -> None:
        """Loads the feature extractor and the network. Raises WeightsError, ConfigError."""
        from transformers import AutoFeatureExtractor

        from pipeline.encoders.transformer_networks import load_part

        self.extractor = load_part(AutoFeatureExtractor, self.folder, self.model, "feature extractor")
        if not hasattr(self.extractor, "sampling_rate"):
            raise WeightsError(f"weights {self.model}: the feature extractor there is not one for audio")
        self.sample_rate_hz = int(self.extractor.sampling_rate)
        self.shortest, self.longest = self._lengths()
        if not self._fixed:
            self.batch_cost = self.settings.batch_rows * self.longest
        super().load()

    def decode(self, raw: Raw) -> Input:
        """Each window's features, float32. Raises MediaError if the clip cannot be read or holds only zeros.

        Shapes: (samples,) for raw audio; (frames, bands + 1) AST; (bands + 1, frames) Whisper; (crops, frames, bands).
        """
        samples = samples_of(raw, self.settings, self.sample_rate_hz)
        samples = np.pad(samples, (0, max(0, self.shortest - len(samples))))
        return [self._features(samples[window]) for window in windows(len(samples), self.longest)]

    def cost(self, part: np.ndarray) -> int:
        """One for a picture of fixed size; else its samples, as a batch is padded to its longest window."""
        return 1 if self._fixed else len(part)

    def collate(self, parts: Sequence[np.ndarray]) -> Batch:
        """Windows side by side; raw audio padded to the longest, (n, t) float32, with its mask, (n, t) int64."""
        if self._fixed:
            return super().collate(parts)
        longest = max(len(part) for part in parts)
        samples = np.zeros((len(parts), longest), np.float32)
        mask = np.zeros((len(parts), longest), np.int64)
        for row, part in enumerate(parts):
            samples[row, : len(part)] = part
            mask[row, : len(part)] = 1
        return samples, mask

    def examples(self) -> list[np.ndarray]:
        """Two windows of noise, of unlike length where lengths may differ."""
        noise = np.random.default_rng(0).standard_normal(2 * self.shortest + self.sample_rate_hz // 10)
        lengths = (len(noise), len(noise) - self.sample_rate_hz // 20)
        return [self._features(noise[:length].astype(np.float32)[: self.longest]) for length in lengths]

    @property
    def _fixed(self) -> bool:
        return self.kind in (AST, CLAP, WHISPER)

    def _lengths(self) -> tuple[int, int]:
        """Samples of the shortest and the longest window that the model takes."""
        if self.kind == AST:
            return AST_FRAME, AST_FRAME + AST_HOP * (self.extractor.max_length - 1)
        if self.kind == CLAP:
            return 1, int(self.extractor.nb_max_samples)
        if self.kind == WHISPER:
            return 1, int(self.extractor.n_samples)
        shortest = 1
        layers = zip(self.config.get("conv_kernel", ()), self.config.get("conv_stride", ()), strict=True)
        for kernel, stride in reversed(list(layers)):
            shortest = (shortest - 1) * stride + kernel
        return shortest, max(shortest, int(self.settings.seconds * self.sample_rate_hz))

    def _features(self, samples: np.ndarray) -> np.ndarray:
        extracted = self.extractor(samples, sampling_rate=self.sample_rate_hz, return_tensors="np")
        features = np.asarray(extracted[self.extractor.model_input_names[0]][0], dtype=np.float32)
        if self.kind == AST:
            frames = 1 + (len(samples) - AST_FRAME) // AST_HOP
            mask = np.arange(features.shape[0]) < frames
            return np.concatenate([features, mask[:, None]], axis=1, dtype=np.float32)
        if self.kind == WHISPER:
            mask = np.arange(features.shape[1]) * self.extractor.hop_length < len(samples)
            return np.concatenate([features, mask[None]], axis=0, dtype=np.float32)
        return features


def _config_of(folder: Path, described: str) -> dict[str, Any]:
    try:
        document = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        raise WeightsError(f"weights {described}: not a transformers folder (it holds no config.json)") from None
    return document if isinstance(document, dict) else {}
