"""What every kind of fusion is set by; a kind adds its own settings in its module of `pipeline/fusion/kinds/`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny

from pipeline.config.base import Section, Share, advanced
from pipeline.config.kinds import Registry

FUSIONS = Registry("medley.fusions", "pipeline.fusion.kinds", "pipeline.fusion.base:Fusion", default="concat")
# Keys of earlier versions, and where they are now.
MOVED = {
    "learned_weights": "fuse.kind linear learns its weights where fuse.learn is given, as `learn: {}`",
    "graph": "its settings stand beside fuse.kind gnn: fuse.layers, neighbours, co_chosen, edge_dropout",
}
MOVED_LEARN = {
    "hidden": "it is fuse.hidden now, beside the kind",
    "dropout": "it is fuse.dropout now, beside the kind",
    "align_agreement": "it is fuse.learn.agreement of fuse.kind align now",
}
Weight = Annotated[float, Field(ge=0)]


class FuseUsers(Section):
    """From the items of a history, and a profile's text, to a user's vector."""

    pooling: Literal["mean", "attention"] = Field(
        "mean", description="the time-decayed mean, or attention over the history, learned on the training part"
    )
    profile_weight: Share = Field(0.2, description="share of the profile's own vector in the user's; 0 turns it off")


class Fuse(Section):
    """From modalities to one vector, and from a history to a user's: what every kind of fusion reads."""

    kind: str
    width: int = Field(256, ge=2, description="dimensions of the fused vector")
    weights: dict[str, Weight] = Field(
        default_factory=dict, description="modality to its weight, 1 where it is not named; 0 leaves it out"
    )
    half_life_days: float = Field(180, gt=0, description="age at which an interaction counts half in a user's vector")
    users: FuseUsers = FuseUsers()

    @classmethod
    def unknown(cls, key: str, value: object) -> str:
        """Says where a key is that stood here once, or that another kind has."""
        return MOVED.get(key) or _other_kinds(key) or super().unknown(key, value)

    def weight(self, modality: str) -> float:
        """The weight of a modality."""
        return self.weights.get(modality, 1.0)


# The settings of one kind, which `kind` names.
FuseOfKind = SerializeAsAny[Annotated[Fuse, BeforeValidator(FUSIONS.read)]]


def _other_kinds(key: str) -> str:
    kinds = [name for name in FUSIONS.names() if key in FUSIONS.find(name).Settings.model_fields]  # type: ignore[attr-defined]
    return f"it is a setting of fuse.kind {', '.join(kinds)}" if kinds else ""


class Learn(Section):
    """How a fusion learns: what users choose together becomes alike, and an item's modalities agree."""

    co_choice: float = Field(1.0, ge=0, description="weight of the loss over items that one user chose")
    agreement: float = Field(0.1, ge=0, description="weight of the loss over the modalities of one item")
    agreement_width: float = advanced(
        0.5, "share of the vector that must agree; the rest is free for what one modality knows", gt=0, le=1
    )
    window_choices: int = Field(
        10, ge=1, le=1000, description="choices of a user this many apart at most count as together"
    )
    modality_dropout: float = Field(0.3, ge=0, lt=1, description="chance to hide a modality from one step of training")
    temperature: float = advanced(0.1, "of the co-choice loss", gt=0)
    agreement_temperature: float = advanced(0.2, "of the agreement loss", gt=0)
    batch_pairs: int = advanced(256, "pairs in a step; the others of a batch are the negatives", ge=2)
    pairs: int = advanced(8192, "pairs drawn from the training log for an epoch, at most", ge=2)
    max_epochs: int = Field(30, ge=1)
    patience_epochs: int = Field(
        5, ge=1, description="stop after so many epochs that are no better on what is held out"
    )
    held_out_share: float = advanced(0.1, "share of items kept from training to stop by", gt=0, lt=1)
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    averaging: float = advanced(0.98, "share of the kept weights that stays at every step", ge=0, lt=1)

    @classmethod
    def unknown(cls, key: str, value: object) -> str:
        """Says where a key is that stood here once."""
        return MOVED_LEARN.get(key) or super().unknown(key, value)


class LearnedFuse(Fuse):
    """What the kinds that learn read."""

    learn: Learn = Learn()


class NetworkFuse(LearnedFuse):
    """What the kinds that learn a network read."""

    hidden: int = Field(256, ge=1, description="width of hidden layers")
    dropout: float = Field(0.3, ge=0, lt=1)
