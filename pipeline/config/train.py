"""The recommender that is trained: a kind of `pipeline/recommend/models/`, or of an installed package."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, SerializeAsAny

from pipeline.config.base import Schema, Section, advanced, operator
from pipeline.config.kinds import Registry
from pipeline.config.training import Schedule

RECOMMENDERS = Registry(
    "medley.recommenders", "pipeline.recommend.models", "pipeline.recommend.base:Model", "model", "auto"
)
RUNNING = frozenset({"tensorboard", "warm_start", "checkpoint_seconds", "processes"})
_MODELS = ("bpr", "graph", "elsa", "svd", "sequence", "llm")


class TrainSettings(Section):
    """What every kind of recommender has; its own settings stand beside these, in a class derived from this one."""

    moved: ClassVar[dict[str, str]] = {
        **{name: f"`train: {{model: {name}, SETTINGS}}`" for name in _MODELS},
        "pairwise": "`train: {model: vbpr, SETTINGS}` or `train: {model: lightgcn, SETTINGS}`",
        "blend": "`train: {model: blend, members: [{model: two_tower}, {model: als}]}`",
    }
    model: str = Field("", description="the kind of recommender")
    tensorboard: bool = Field(True, description="write every epoch's loss and metric to runs/RUN_ID/tensorboard")
    warm_start: bool = operator(
        False,
        "begin at the weights of the night that is published, matched by item and user; "
        "svd does in any case, while its settings are kept",
    )
    checkpoint_seconds: float = advanced(
        60, "longest time that a killed fit loses, but for the epoch that it was in", ge=0
    )
    processes: int = advanced(
        1, "that fit the model together, a GPU each where there are any; some models take one", ge=1
    )

    def meaning(self) -> Schema:
        """The settings that decide what is learned, without those of running."""
        return self.model_dump(mode="json", exclude=set(RUNNING))


class TrainedSettings(TrainSettings, Schedule):
    """What every kind has that learns in epochs."""


def _has_vectors(settings: TrainSettings) -> TrainSettings:
    if not RECOMMENDERS.find(settings.model).vectors:  # type: ignore[attr-defined]
        raise ValueError(f"{settings.model} has no vectors to be published; it can stand in evaluate.baselines")
    return settings


def _differ(models: tuple[TrainSettings, ...]) -> tuple[TrainSettings, ...]:
    names = [settings.model for settings in models]
    if len(set(names)) < len(names):
        raise ValueError("must name each model once")
    for settings in models:
        set_here = [
            name for name in sorted(RUNNING) if getattr(settings, name) != TrainSettings.model_fields[name].default
        ]
        if set_here:
            raise ValueError(f"{settings.model}: {set_here[0]} is a setting of train itself")
    return models


def _single(models: tuple[TrainSettings, ...]) -> tuple[TrainSettings, ...]:
    for settings in models:
        if hasattr(settings, "members"):
            raise ValueError(f"{settings.model} is made of members itself; name those")
    return models


# Any kind; a kind that can be indexed; several, each of another kind.
AnyRecommender = SerializeAsAny[Annotated[TrainSettings, BeforeValidator(RECOMMENDERS.read)]]
Train = Annotated[AnyRecommender, AfterValidator(_has_vectors)]
Members = Annotated[tuple[Train, ...], Field(min_length=1), AfterValidator(_differ), AfterValidator(_single)]
Baselines = Annotated[tuple[AnyRecommender, ...], AfterValidator(_differ)]
