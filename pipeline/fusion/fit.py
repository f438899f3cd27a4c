"""Fitting the configured kind on a night's shards and training log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from threadpoolctl import threadpool_limits

from pipeline.config import Fuse, Modality
from pipeline.errors import StepFailed
from pipeline.fusion.base import Frontend, Fusion, Mask
from pipeline.fusion.concat import ConcatFusion
from pipeline.fusion.linear import LinearFusion, given_weights
from pipeline.fusion.moments import Vectors
from pipeline.fusion.shards import Shards
from pipeline.fusion.store import SideStore
from pipeline.interactions import Interactions

Found = TypeVar("Found")
Curve = list[dict[str, float]]


@dataclass(frozen=True)
class Night:
    """What a fusion is fitted on.

    spaces: the joint space of each modality's vectors, or "". train: the training part. visible: (n_items,) bool, the
    items that training may look at. threads: compute threads.
    """

    shards: Shards
    spaces: dict[Modality, str]
    train: Interactions
    visible: Mask
    seed: int
    threads: int = 1


@dataclass(frozen=True)
class Fitted:
    """A fitted fusion, the catalogue's sides where it learned from them, and how it learned: see `learn.train`."""

    fusion: Fusion
    sides: SideStore | None = None
    curve: Curve = field(default_factory=list)


def fit(settings: Fuse, night: Night, scratch: Path) -> Fitted:
    """Fits the frontend, then the kind; scratch: a folder for the catalogue's sides, which the caller removes.

    Raises StepFailed if no item has any modality; ConfigError if all weights are zero.
    """
    batches = {modality: night.shards.present(modality) for modality in night.shards.modalities}
    frontend = Frontend.fit(batches, settings.width, night.seed, night.spaces)
    if not frontend.projections:
        raise StepFailed("no item has any modality: look at the reasons in the shards' `error` column")
    frontend = frontend.only(given_weights(frontend, settings) > 0)
    if settings.kind == "concat":
        return Fitted(ConcatFusion.fit(frontend, _visible(frontend, night), settings))
    if settings.kind == "linear" and not settings.learned_weights:
        return Fitted(LinearFusion.of(frontend, settings))
    from pipeline.recommend.engine import reproducible

    with reproducible(night.threads):
        return _learn(settings, night, frontend, scratch)


def _visible(frontend: Frontend, night: Night) -> Iterator[tuple[Vectors, Mask]]:
    for bucket in night.shards.sampled():
        sides, mask = frontend.sides(night.shards.read(bucket)[1])
        seen = night.visible[night.shards.starts[bucket] : night.shards.starts[bucket + 1]]
        # Where every item is held out there is nothing else to find axes by.
        yield (sides[seen], mask[seen]) if night.visible.any() else (sides, mask)


def _learn(settings: Fuse, night: Night, frontend: Frontend, scratch: Path) -> Fitted:
    import torch

    from pipeline.fusion import graph
    from pipeline.fusion.learn import Lesson, held_out, train
    from pipeline.fusion.learned import KINDS, GnnFusion

    sides = stored(frontend, night.shards, scratch / "sides.npy", night.threads)
    torch.manual_seed(night.seed)
    fusion = KINDS[settings.kind](frontend, settings)
    lesson = Lesson(sides, night.train, night.visible, night.seed)
    if not isinstance(fusion, GnnFusion):
        return Fitted(fusion, sides, train(fusion, lesson))
    whole = graph.build(sides, night.train, settings.learn.window_choices, settings.graph)
    # What training stops by must stand in the graph as a new item does: nobody chose it.
    fusion.graph = whole.without(held_out(night.shards.items, settings.learn.held_out_share, night.seed))
    curve = train(fusion, lesson)
    fusion.graph = whole
    return Fitted(fusion, sides, curve)


def stored(frontend: Frontend, shards: Shards, path: Path, threads: int) -> SideStore:
    """The sides of every item, written to a file."""
    sides = SideStore(path, shards.items, len(frontend.modalities), frontend.width)

    def put(bucket: int) -> None:
        sides.write(int(shards.starts[bucket]), *frontend.sides(shards.read(bucket)[1]))

    for _ in each_bucket(put, len(shards), threads):
        pass
    return sides


def each_bucket(work: Callable[[int], Found], buckets: int, threads: int) -> Iterator[Found]:
    """The result of every bucket in order; while one thread waits for the disk another computes, each on one core."""
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(max(threads, 1)) as pool:
        yield from pool.map(work, range(buckets))
