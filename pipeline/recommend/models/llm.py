"""llm: a causal language model that reads histories as text and vectors."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from pipeline.config.base import Section
from pipeline.config.shared import SMOLLM2, WEIGHTS_FROM
from pipeline.config.train import TrainSettings
from pipeline.config.training import Averaging, Clip, Epochs
from pipeline.recommend.kind import Space
from pipeline.recommend.models.sequence import HistorySettings, SequenceKind


class Scratch(Section):
    """The shape of a model without a checkpoint: a Llama whose words are learned from the titles."""

    layers: int = Field(4, ge=1)
    width: int = Field(128, ge=2, description="a multiple of twice `heads`")
    heads: int = Field(4, ge=1)
    vocabulary: int = Field(2000, ge=300, description="pieces of words, at most")

    @field_validator("heads")
    @classmethod
    def _heads_share_the_width(cls, heads: int, info: ValidationInfo) -> int:
        if info.data.get("width", 2 * heads) % (2 * heads):
            raise ValueError(f"twice of it must divide width, which is {info.data['width']}")
        return heads


class LlmSettings(HistorySettings):
    """See `pipeline.recommend.llm`."""

    model: Literal["llm"] = "llm"
    max_epochs: Epochs = 20
    clip: Clip = 1.0
    averaging: Averaging = 0.98
    weights: str = Field(SMOLLM2, description=f"{WEIGHTS_FROM}; empty for a small model from scratch")
    sha256: str = Field("", description="expected sha256 of the weights file; empty for no check")
    gguf_file: str = Field("", description="name of a GGUF file in the weights' folder, to be read instead")
    scratch: Scratch = Scratch()
    kept_layers: int = Field(0, ge=0, description="first layers of the checkpoint that are used; 0 for all")
    tuning: Literal["frozen", "lora", "full"] = Field(
        "lora",
        description="what of the language model is trained: nothing (each history is then read once, not every epoch), "
        "low-rank updates, or all",
    )
    rank: int = Field(8, ge=1, description="lora: rank of the update of every linear layer")
    frozen_precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of weights that are not trained; auto is bfloat16 where the machine multiplies in it"
    )
    prompt: str = Field("Chosen by one person, oldest first:", description="what every history opens with")
    title_tokens: int = Field(8, ge=0, description="tokens of a title that are read; 0 for vectors alone")
    history_items: int = Field(20, ge=3, description="latest interactions that are read")
    pieces_per_user: int = Field(4, ge=1, description="latest stretches of `history_items` that an epoch learns from")
    width: int = Field(256, ge=2, description="dimensions of item and user vectors")
    dropout: Annotated[float, Field(ge=0, lt=1, description="of the last hidden state")] = 0.3
    batch_positions: int = Field(256, ge=1, description="items of histories in one batch, with padding")
    learning_rate: float = Field(5e-4, gt=0, description="of everything but the language model")
    model_learning_rate: float = Field(2e-4, gt=0, description="of the language model, as far as it is trained")

    @field_validator("tuning")
    @classmethod
    def _scratch_is_trained(cls, tuning: str, info: ValidationInfo) -> str:
        if info.data.get("weights") == "" and tuning != "full":
            raise ValueError("must be full where weights are empty: a model from scratch knows nothing yet")
        return tuning


class LlmKind(SequenceKind):
    """A language model that reads titles and vectors; its items are as those of `sequence`."""

    Settings: ClassVar[type[TrainSettings]] = LlmSettings
    title = "LLM"
    purpose = "telling titles and long text-like histories, with time or a GPU to spare"
    implementation = "pipeline.recommend.llm:LanguageModel"
    reads = frozenset({"fused", "titles"})
    search_space: ClassVar[Space] = {}

    @classmethod
    def weights_digest(cls, settings: TrainSettings) -> str:
        """See Kind."""
        from pipeline.recommend.llm_checkpoint import identity

        return identity(settings) if isinstance(settings, LlmSettings) else ""
