"""Recommenders behind one contract, `pipeline.recommend.base`, found by the names that the configuration uses."""

from __future__ import annotations

from pipeline.config.train import RECOMMENDERS, TrainSettings
from pipeline.config.training import DEFAULT_METRIC
from pipeline.recommend.base import Model, Recommender


def kind_of(name: str) -> type[Model]:
    """The class of a recommender. Raises ConfigError if there is none of that name."""
    kind: type[Model] = RECOMMENDERS.find(name)
    return kind


def build(settings: TrainSettings, seed: int, threads: int = 1, metric: str = DEFAULT_METRIC) -> Model:
    """A model that is not fitted yet. metric: what validation chooses by."""
    model = kind_of(settings.model)(settings, seed, threads)
    model.name = settings.model
    for part in (model, *getattr(model, "members", {}).values()):
        part.metric = metric
    return model


def recommender(settings: TrainSettings, seed: int, threads: int = 1, metric: str = DEFAULT_METRIC) -> Recommender:
    """As `build`, of a kind whose scores are products of vectors. Raises ValueError for any other."""
    model = build(settings, seed, threads, metric)
    if not isinstance(model, Recommender):
        raise ValueError(f"{settings.model} has no vectors")
    return model


def parts(settings: TrainSettings) -> tuple[TrainSettings, ...]:
    """The settings of the models that a model is made of: its own, or those that it blends."""
    return kind_of(settings.model).parts(settings)


def reads(settings: TrainSettings) -> frozenset[str]:
    """Which item data a model, or any that it blends, reads, see `Model`."""
    return frozenset().union(*(kind_of(part.model).reads for part in parts(settings)))
