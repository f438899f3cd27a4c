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
class Material:
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


def fit(settings: Fuse, material: Material, scratch: Path) -> Fitted:
    """Fits the frontend, then the kind; scratch: a folder for the catalogue's sides, which the caller removes.

    Raises StepFailed if no item has any modality; ConfigError if all weights are zero.
    """
    batches = {modality: material.shards.present(modality) for modality in material.shards.modalities}
    frontend = Frontend.fit(batches, settings.width, material.seed, material.spaces)
    if not frontend.projections:
        raise StepFailed("no item has any modality: look at the reasons in the shards' `error` column")
    frontend = frontend.only(given_weights(frontend, settings) > 0)
    if settings.kind == "concat":
        return Fitted(ConcatFusion.fit(frontend, _visible(frontend, material), settings))
    if settings.kind == "linear" and not settings.learned_weights:
        return Fitted(LinearFusion.of(frontend, settings))
    from pipeline.training.torch_runtime import reproducible

    with reproducible(material.threads):
        return _learn(settings, material, frontend, scratch)


def _visible(frontend: Frontend, material: Material) -> Iterator[tuple[Vectors, Mask]]:
    for bucket in material.shards.sampled():
        sides, mask = frontend.sides(material.shards.read(bucket)[1])
        seen = material.visible[material.shards.starts[bucket] : material.shards.starts[bucket + 1]]
        # Where every item is held out there is nothing else to find axes by.
        yield (sides[seen], mask[seen]) if material.visible.any() else (sides, mask)


def _learn(settings: Fuse, material: Material, frontend: Frontend, scratch: Path) -> Fitted:
    import torch

    from pipeline.fusion import graph
    from pipeline.fusion.learn import Lesson, held_out, train
    from pipeline.fusion.learned import KINDS, GnnFusion

    sides = stored(frontend, material.shards, scratch / "sides.npy", material.threads)
    torch.manual_seed(material.seed)
    fusion = KINDS[settings.kind](frontend, settings)
    lesson = Lesson(sides, material.train, material.visible, material.seed)
    if not isinstance(fusion, GnnFusion):
        return Fitted(fusion, sides, train(fusion, lesson))
    whole = graph.build(sides, material.train, settings.learn.window_choices, settings.graph)
    # What training stops by must stand in the graph as a new item does: nobody chose it.
    fusion.graph = whole.without(held_out(material.shards.items, settings.learn.held_out_share, material.seed))
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
