"""Recommenders behind one contract, by the names that the configuration and metrics.json use."""

from __future__ import annotations

from pipeline.config import Config
from pipeline.recommend.contract import Content, Fit, OnEpoch, Recommender

BASELINES = ("random", "popularity", "als")
MODELS = ("content", "two_tower")

__all__ = ["BASELINES", "MODELS", "Content", "Fit", "OnEpoch", "Recommender", "build"]


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
    raise ValueError(f"no recommender is called {name}; there are {', '.join(BASELINES + MODELS)}")
