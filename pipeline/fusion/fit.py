"""Fitting the configured kind on a night's shards and training log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from threadpoolctl import threadpool_limits

from pipeline.artefacts.shards import Shards
from pipeline.config.base import Modality
from pipeline.config.fuse import FUSIONS, Fuse
from pipeline.errors import StepFailed, border
from pipeline.fusion.base import Curve, Frontend, Fusion, given_weights
from pipeline.fusion.moments import Vectors
from pipeline.fusion.projected import InFile, Mask
from pipeline.interactions import Interactions
from pipeline.training.context import Context

Result = TypeVar("Result")


@dataclass(frozen=True)
class Material:
    """What a fusion is fitted on.

    spaces: the joint space of each modality's vectors, or "". train: the training part. visible: (n_items,) bool, the
    items that training may look at. context: seed and threads, and what fits in epochs run with.
    """

    shards: Shards
    spaces: dict[Modality, str]
    train: Interactions
    visible: Mask
    context: Context


class Catalogue:
    """What a kind may learn from: the projected modalities of all items, and the training log with them, `material`."""

    def __init__(self, material: Material, frontend: Frontend, scratch: Path) -> None:
        """scratch: a folder for what is kept in a file, which the caller removes."""
        self.material, self.frontend = material, frontend
        self.in_file: InFile | None = None
        self._scratch = scratch

    def sampled(self) -> Iterator[tuple[Vectors, Mask]]:
        """Items that training may look at, some at a time, projected (n, m, w) and mask (n, m): a sample of many."""
        shards, visible = self.material.shards, self.material.visible
        for bucket in shards.sampled():
            projected, mask = self.frontend.project(shards.read(bucket)[1])
            seen = visible[shards.starts[bucket] : shards.starts[bucket + 1]]
            # Where every item is held out there is nothing else to learn from.
            yield (projected[seen], mask[seen]) if visible.any() else (projected, mask)

    def stored(self) -> InFile:
        """Every item, in a file that is written when it is first asked for."""
        if self.in_file is None:
            shards = self.material.shards
            self.in_file = InFile(
                self._scratch / "projected.npy", shards.items, len(self.frontend.modalities), self.frontend.width
            )
            for _ in each_bucket(self._put, len(shards), self.material.context.threads):
                pass
        return self.in_file

    def _put(self, bucket: int) -> None:
        shards = self.material.shards
        assert self.in_file is not None
        self.in_file.write(int(shards.starts[bucket]), *self.frontend.project(shards.read(bucket)[1]))


@dataclass(frozen=True)
class Fitted:
    """A fitted fusion, the catalogue's projected modalities where it learned from them, and how it learned."""

    fusion: Fusion
    projected: InFile | None = None
    curve: Curve = field(default_factory=list)


def fit(settings: Fuse, material: Material, scratch: Path) -> Fitted:
    """Fits the frontend, then the kind; scratch: a folder for what the kind reads, which the caller removes.

    Raises StepFailed if no item has any modality; ConfigError if all weights are zero.
    """
    batches = {modality: material.shards.present(modality) for modality in material.shards.modalities}
    frontend = Frontend.fit(batches, settings.width, material.context.seed, material.spaces)
    if not frontend.projections:
        raise StepFailed("no item has any modality: look at the reasons in the shards' `error` column")
    frontend = frontend.only(given_weights(frontend, settings) > 0)
    kind: type[Fusion] = FUSIONS.find(settings.kind)
    fusion, catalogue = kind(frontend, settings), Catalogue(material, frontend, scratch)
    with border(f"fusion {settings.kind}"):
        curve = fusion.fit(catalogue)
    return Fitted(fusion, catalogue.in_file, curve)


def each_bucket(work: Callable[[int], Result], buckets: int, threads: int) -> Iterator[Result]:
    """The result of every bucket in order; while one thread waits for the disk another computes, each on one core."""
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(max(threads, 1)) as pool:
        yield from pool.map(work, range(buckets))
