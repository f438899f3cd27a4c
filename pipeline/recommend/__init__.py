"""Recommenders behind one contract, by the names that the configuration and metrics.json use."""

from __future__ import annotations

from pathlib import Path

from pipeline.config import Config
from pipeline.errors import StepFailed
from pipeline.recommend.contract import Content, Fit, ItemSide, OnEpoch, Recommender

BASELINES = ("random", "popularity", "als")
MODELS = ("content", "two_tower", "sequence")

__all__ = ["BASELINES", "MODELS", "Content", "Fit", "ItemSide", "OnEpoch", "Recommender", "build", "load_item_side"]


def build(name: str, config: Config, threads: int = 1) -> Recommender:
    """A recommender that is not fitted yet, with the configuration's settings and seed.

    name: one of BASELINES and MODELS. Imports torch or implicit only where the model needs it.
    """
    from pipeline.recommend import baselines
    from pipeline.recommend.content import ContentRecommender

    match name:
        case "random":
            return baselines.Random(config.seed)
        case "popularity":
            return baselines.Popularity()
        case "als":
            return baselines.ALS(config.evaluate, config.seed, threads)
        case "content":
            return ContentRecommender(config.fuse.half_life_days)
        case "two_tower":
            from pipeline.recommend.two_tower import TwoTower

            return TwoTower(config.train, config.seed, threads, config.fuse.half_life_days)
        case "sequence":
            from pipeline.recommend.sequence import SequenceModel

            return SequenceModel(config.train.sequence, config.seed, threads)
    raise ValueError(f"no recommender is called {name}; there are {', '.join(BASELINES + MODELS)}")


def load_item_side(name: str, folder: Path) -> ItemSide:
    """What a saved model's items would be with other content; folder: where `Recommender.save` wrote.

    Raises StepFailed for a model that looks at no content; ShardCorrupt if the folder is not such a model's.
    """
    from pipeline.recommend.content import FusedItems
    from pipeline.recommend.item_side import SequenceItems, TowerItems

    match name:
        case "content":
            return FusedItems()
        case "two_tower":
            return TowerItems(folder)
        case "sequence":
            return SequenceItems(folder)
    raise StepFailed(
        f"the {name} model looks at no content, so no modality explains its scores; train {' or '.join(MODELS)}"
    )
