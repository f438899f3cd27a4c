"""Recommenders behind one contract, by the names that the configuration and metrics.json use."""

from __future__ import annotations

from pathlib import Path

from pipeline.config import Config
from pipeline.recommend.base import Content, Fit, ItemSide, Model, OnEpoch, Recommender, UserSide

BASELINES = ("random", "popularity", "item_knn", "rp3beta", "ease", "als")
MODELS = ("content", "two_tower", "sequence", "bpr", "vbpr", "lightgcn", "graph", "elsa", "svd", "llm", "blend")
# Those whose items are a function of content once they are fitted, which `load_item_side` gives.
REMADE = ("content", "two_tower", "sequence", "llm", "vbpr", "graph")
# Those that read each modality's own vectors, `Content.modalities`.
READS_MODALITIES = ("vbpr", "graph", "elsa", "svd")
# Those that read `Content.titles`.
READS_TITLES = ("llm",)
# Those that several processes fit together.
SHARED = ("two_tower", "sequence", "vbpr", "lightgcn", "graph", "elsa", "llm")

__all__ = [
    "BASELINES",
    "MODELS",
    "READS_MODALITIES",
    "READS_TITLES",
    "REMADE",
    "SHARED",
    "Content",
    "Fit",
    "ItemSide",
    "Model",
    "OnEpoch",
    "Recommender",
    "UserSide",
    "baseline",
    "build",
    "load_item_side",
    "load_user_side",
]


def baseline(name: str, config: Config, threads: int = 1) -> Model:
    """A model of BASELINES that is not fitted yet, with the configuration's settings and seed."""
    from pipeline.recommend import baselines, item_to_item

    match name:
        case "random":
            return baselines.Random(config.seed)
        case "popularity":
            return baselines.Popularity(config.evaluate)
        case "als":
            return baselines.ALS(config.evaluate, config.seed, threads)
        case "item_knn":
            return item_to_item.ItemKnn(config.evaluate)
        case "rp3beta":
            return item_to_item.RP3Beta(config.evaluate)
        case "ease":
            return item_to_item.Ease(config.evaluate)
    raise ValueError(f"no baseline is called {name}; there are {', '.join(BASELINES)}")


def build(name: str, config: Config, threads: int = 1) -> Recommender:
    """A recommender of MODELS that is not fitted yet, with the configuration's settings and seed.

    Imports torch only where the model needs it.
    """
    from pipeline.recommend.content import ContentRecommender

    match name:
        case "content":
            return ContentRecommender(config.fuse.half_life_days)
        case "two_tower":
            from pipeline.recommend.two_tower import TwoTower

            return TwoTower(config.train, config.seed, threads, config.fuse.half_life_days)
        case "bpr":
            from pipeline.recommend.bpr import BPR

            return BPR(config.train.bpr, config.seed, threads)
        case "vbpr":
            from pipeline.recommend.bpr import VBPR

            return VBPR(config.train.pairwise, config.seed, threads)
        case "lightgcn":
            from pipeline.recommend.lightgcn import LightGCN

            return LightGCN(config.train.pairwise, config.seed, threads)
        case "elsa":
            from pipeline.recommend.elsa import Elsa

            return Elsa(config.train.elsa, config.seed, threads)
        case "svd":
            from pipeline.recommend.svd import Svd

            return Svd(config.train.svd, config.seed, threads)
        case "graph":
            from pipeline.recommend.graph import GraphRecommender

            return GraphRecommender(config.train.graph, config.seed, threads)
        case "sequence":
            from pipeline.recommend.sequence import SequenceModel

            return SequenceModel(config.train.sequence, config.seed, threads)
        case "llm":
            from pipeline.recommend.llm import LanguageModel

            return LanguageModel(config.train.llm, config.seed, threads)
        case "blend":
            from pipeline.recommend.blend import BlendModel

            settings = config.train.blend
            return BlendModel({member: _member(member, config, threads) for member in settings.models}, settings)
    raise ValueError(f"no recommender is called {name}; there are {', '.join(MODELS)}")


def _member(name: str, config: Config, threads: int) -> Recommender:
    model = baseline(name, config, threads) if name in BASELINES else build(name, config, threads)
    if not isinstance(model, Recommender):
        raise ValueError(f"{name} has no vectors to be blended")
    return model


def load_item_side(name: str, folder: Path) -> ItemSide | None:
    """What a saved model's items would be with other content; folder: where `save_with_reads` wrote.

    None for a model that is not of REMADE, and a blend of none that is. Raises ShardCorrupt if the folder is not such
    a model's.
    """
    from pipeline.recommend.content import FusedItems
    from pipeline.recommend.item_sides import BlendItems, SequenceItems, SummedItems, TowerItems

    match name:
        case "content":
            return FusedItems()
        case "two_tower":
            return TowerItems(folder)
        case "sequence" | "llm":
            return SequenceItems(folder, name)
        case "vbpr" | "graph":
            return SummedItems(folder, name, unit=name == "graph")
        case "blend":
            blended = BlendItems(folder, load_item_side)
            return blended if any(blended.sides.values()) else None
    return None


def load_user_side(name: str, folder: Path) -> UserSide | None:
    """Which past choices a saved model's users are sums of; None where they are no sums. Otherwise as above."""
    from pipeline.recommend.user_sides import FILE, BlendedUser, SummedUser

    if name == "blend":
        blended = BlendedUser(folder, load_user_side)
        return blended if any(blended.sides.values()) else None
    return SummedUser(folder, name) if (folder / FILE).exists() else None
