"""transformers audio models as networks that end in one vector per window.

| family | takes | frames that are pooled |
|---|---|---|
| wav2vec 2.0, HuBERT, WavLM and kin | samples of any length, and their mask | those of the window's own samples |
| AST | a fixed log-mel picture, and its mask | patches that begin inside the window |
| Whisper (encoder) | a fixed log-mel picture, and its mask | those of the window's own samples |
| CLAP (audio tower) | a fixed log-mel picture | all: a short window is repeated until it fills the picture |

A mask travels as one more mel band, so that a window stays one array.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from pipeline.encoders.transformer_networks import pool
from pipeline.errors import ConfigError


def audio_network(network: nn.Module, pooling: str, described: str) -> nn.Module:
    """The audio side of a transformers model with its pooling; other parts are dropped.

    Raises ConfigError if it has no joint space and one is asked for, or is of no known family.
    """
    config: Any = network.config
    joint = hasattr(network, "get_audio_features")
    if pooling == "joint" and not joint:
        raise ConfigError(f"extract.audio.pooling: {described} has no joint space; choose mean, max or attention")
    if config.model_type == "clap":
        return Clap(network, "joint" if pooling == "auto" else pooling)
    pooling = "mean" if pooling == "auto" else pooling
    if config.model_type == "audio-spectrogram-transformer":
        return SpectrogramTransformer(network, pooling)
    if config.model_type == "whisper":
        return Whisper(network.get_encoder(), pooling)  # type: ignore[operator]
    if hasattr(network, "_get_feature_vector_attention_mask"):
        return RawAudio(network, pooling)
    raise ConfigError(
        f"extract.audio.weights: {described} is a {config.model_type}; known are AST, wav2vec 2.0, HuBERT and their "
        "kin, Whisper and CLAP"
    )


class Pooled(nn.Module):
    """A network and how its frames become one vector."""

    def __init__(self, network: nn.Module, pooling: str) -> None:
        super().__init__()
        self.network, self.pooling = network, pooling


class RawAudio(Pooled):
    """wav2vec 2.0 and kin: samples [n × t] floats and mask [n × t] int64 to [n × d]. Padding never counts.

    Models that normalise the first layer over time (`feat_extract_norm: group`) would count it: for them that layer's
    mean and variance are taken over a window's own frames, which gives what the window gives alone.
    """

    def __init__(self, network: nn.Module, pooling: str) -> None:
        super().__init__(network, pooling)
        self.over_time: MaskedGroupNorm | None = None
        first: Any = network.get_submodule("feature_extractor.conv_layers.0")
        if isinstance(getattr(first, "layer_norm", None), nn.GroupNorm):
            self.over_time = MaskedGroupNorm(first.layer_norm, first.conv)
            first.layer_norm = self.over_time

    def forward(self, samples: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Pools the frames of each window's own samples."""
        if self.over_time is not None:
            self.over_time.lengths = mask.sum(1)
        hidden = self.network(input_values=samples, attention_mask=mask).last_hidden_state
        frames = self.network._get_feature_vector_attention_mask(hidden.shape[1], mask)  # type: ignore[operator]
        return pool(hidden, frames, self.pooling)


class MaskedGroupNorm(nn.Module):
    """GroupNorm of one channel a group after a convolution, over the frames that `lengths` samples reach."""

    def __init__(self, norm: nn.GroupNorm, convolution: nn.Conv1d) -> None:
        super().__init__()
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps
        self.kernel, self.stride = convolution.kernel_size[0], convolution.stride[0]
        self.lengths = torch.zeros(0)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """[n × c × t] to the same; what is beyond a window's own frames is undefined."""
        count = torch.div(self.lengths - self.kernel, self.stride, rounding_mode="floor") + 1
        own = (torch.arange(hidden.shape[2], device=hidden.device)[None] < count[:, None])[:, None].to(hidden.dtype)
        count = count[:, None, None].to(hidden.dtype)
        mean = (hidden * own).sum(2, keepdim=True) / count
        centred = (hidden - mean) * own
        variance = centred.square().sum(2, keepdim=True) / count
        return centred / (variance + self.eps).sqrt() * self.weight[:, None] + self.bias[:, None]


class SpectrogramTransformer(Pooled):
    """AST (Gong, Chung and Glass 2021): [n × frames × (bands + 1)] floats, the last band a mask, to [n × d]."""

    def __init__(self, network: nn.Module, pooling: str) -> None:
        super().__init__(network, pooling)
        config: Any = network.config
        self.rows: int = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
        self.columns: int = (config.max_length - config.patch_size) // config.time_stride + 1
        self.stride: int = config.time_stride

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        """Pools the patches, which stand row by row behind two tokens that are no patches."""
        hidden = self.network(input_values=window[..., :-1]).last_hidden_state[:, 2:]
        begins = window[:, :: self.stride, -1][:, : self.columns]
        return pool(hidden, begins.repeat(1, self.rows), self.pooling)


class Whisper(nn.Module):
    """Whisper's encoder: [n × (bands + 1) × frames] floats, the last band a mask, to [n × d]."""

    def __init__(self, encoder: nn.Module, pooling: str) -> None:
        super().__init__()
        self.encoder, self.pooling = encoder, pooling

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        """Pools the encoder's frames, each of two frames of the picture."""
        hidden = self.encoder(input_features=window[:, :-1]).last_hidden_state
        return pool(hidden, window[:, -1, ::2], self.pooling)


class Clap(Pooled):
    """CLAP's audio tower: [n × crops × frames × bands] floats to [n × d], projected into the joint space or pooled."""

    def __init__(self, network: nn.Module, pooling: str) -> None:
        super().__init__(network, pooling)
        network.text_model = network.text_projection = None  # type: ignore[assignment]

    def forward(self, window: torch.Tensor) -> torch.Tensor:
        """The unit vector of the joint space, or the last map, pooled over its positions."""
        # A model with fusion is told that a window is long: transformers' extractor says so of any clip that is alone.
        longer = torch.ones((window.shape[0], 1), dtype=torch.bool, device=window.device)
        if self.pooling == "joint":
            outputs = self.network.get_audio_features(input_features=window, is_longer=longer)  # type: ignore[operator]
            return outputs.pooler_output
        outputs = self.network.audio_model(input_features=window, is_longer=longer)  # type: ignore[operator]
        hidden = outputs.last_hidden_state.flatten(2).transpose(1, 2)
        return pool(hidden, torch.ones_like(hidden[..., 0]), self.pooling)
