"""What every kind of fusion is made of: modalities are projected to one width, and then become one vector.

For modality m with vectors x, mean μ and standard deviation σ over a sample of the catalogue, V the principal axes of
the correlation matrix (Pearson 1901) and R a seeded random rotation, the projected modality of an item is

    x̂_m = unit((x - μ) / σ · V · R)

The rotation spreads what the modalities have in common by chance evenly over the width: without it the first axis of
one modality would meet the first axis of another, and unlike things would look alike. Modalities of one joint space
(CLIP's text and image) are alike as they are: they share V and R, found on both, and keep only means of their own,
which takes away the gap between modalities (Liang et al. 2022, "Mind the gap").

A modality that an item lacks is masked, never filled in. Shapes: n items, m modalities, w the fused width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pipeline.config.base import Modality
from pipeline.config.fuse import Fuse
from pipeline.errors import ConfigError
from pipeline.fusion.moments import Moments, Projection, Vectors, rotation
from pipeline.fusion.projected import Mask, Projected
from pipeline.interactions import Int64s

if TYPE_CHECKING:
    from pipeline.fusion.fit import Catalogue

Tensors = dict[str, np.ndarray]
Curve = list[dict[str, float]]


class Frontend:
    """The projections of the modalities in use; a modality without a single vector has none."""

    def __init__(self, projections: Mapping[Modality, Projection], width: int) -> None:
        self.projections = dict(projections)
        self.width = width

    @property
    def modalities(self) -> list[Modality]:
        """The modalities that have a projection, in their order."""
        return list(self.projections)

    @classmethod
    def fit(
        cls,
        batches: Mapping[Modality, Iterable[Vectors]],
        width: int,
        seed: int,
        spaces: Mapping[Modality, str] | None = None,
    ) -> Frontend:
        """Fits each modality on its present vectors, streamed in batches of shape (n, d).

        spaces: the joint space that a modality's vectors lie in; the same name, the same axes.
        """
        moments = {modality: Moments() for modality in batches}
        for modality, vectors in batches.items():
            for batch in vectors:
                moments[modality].add(batch)
        present = {modality: sums for modality, sums in moments.items() if sums.count}
        named = {modality: (spaces or {}).get(modality) or modality for modality in present}
        projections: dict[Modality, Projection] = {}
        for modality, sums in present.items():
            like = [other for other in present if named[other] == named[modality]]
            turned = rotation(width, [seed, list(batches).index(like[0])])
            projections[modality] = sums.projection(width, turned, [present[other] for other in like])
        return cls(projections, width)

    def project(self, vectors: Mapping[Modality, Vectors]) -> tuple[Vectors, Mask]:
        """Modality to (n, d), NaN where missing, becomes (n, m, w), zero where missing, and mask (n, m)."""
        n = len(next(iter(vectors.values())))
        projected = np.zeros((n, len(self.projections), self.width), dtype=np.float32)
        mask = np.zeros((n, len(self.projections)), dtype=bool)
        for place, (modality, projection) in enumerate(self.projections.items()):
            # A bucket without items does not know how wide its vectors would be.
            if modality in vectors and n:
                rows = projection.apply(vectors[modality])
                mask[:, place] = ~np.isnan(rows[:, 0])
                rows[~mask[:, place]] = 0
                projected[:, place] = rows
        return projected, mask

    def only(self, chosen: Mask) -> Frontend:
        """The chosen modalities alone; chosen: (m,) bool."""
        named = zip(self.projections.items(), chosen, strict=True)
        return Frontend(dict(item for item, keep in named if keep), self.width)

    def tensors(self) -> Tensors:
        """What `of` needs again: `<modality>.mean` and `<modality>.matrix`."""
        return {
            f"{modality}.{name}": np.ascontiguousarray(getattr(projection, name))
            for modality, projection in self.projections.items()
            for name in ("mean", "matrix")
        }

    @classmethod
    def of(cls, tensors: Tensors, modalities: Iterable[Modality], width: int) -> Frontend:
        """The reverse of `tensors`."""
        return cls({m: Projection(tensors[f"{m}.mean"], tensors[f"{m}.matrix"]) for m in modalities}, width)


class Fusion(ABC):
    """A kind of fusion: vectors of any subset of an item's modalities become one vector of unit norm.

    Settings: its section of the configuration, whose `kind` is the kind's name. meaning: how it fuses, and what its
    shares are, in a sentence for the report. A kind without fitted parameters has only `combine`; one with them has
    `fit`, and saves and loads them by `tensors` and `restore`.
    """

    Settings: ClassVar[type[Fuse]]
    meaning: ClassVar[str] = ""

    def __init__(self, frontend: Frontend, settings: Fuse) -> None:
        """settings: of the class's own `Settings`."""
        self.frontend = frontend
        self.settings = settings

    def fit(self, catalogue: Catalogue) -> Curve:
        """Learns from a catalogue and its training log; returns one entry an epoch, none where nothing is learned."""
        return []

    @abstractmethod
    def combine(self, projected: Vectors, mask: Mask) -> tuple[Vectors, Vectors]:
        """Fuses projected modalities (n, m, w) float32, zero where the mask (n, m) is false.

        Returns the fused vectors (n, w), unit norm, NaN where an item has no modality, and how much each modality
        counted (n, m), rows sum to 1, or are 0 where it has none.
        """

    def catalogue(self, projected: Projected, codes: Int64s) -> tuple[Vectors, Vectors]:
        """Vectors and shares of some items of a catalogue, as `combine`."""
        return self.vectors(projected, codes)

    def transform(self, vectors: Mapping[Modality, Vectors]) -> tuple[Vectors, Vectors]:
        """Fuses n items, each on its own.

        vectors: modality to (n, d), NaN in rows where it is missing. Returns the fused vectors (n, w), unit norm, NaN
        where an item has no modality, and each modality's share (n, modalities), in the order given, rows sum to 1.
        """
        fused, shares = self.combine(*self.frontend.project(vectors))
        placed = np.zeros((len(fused), len(vectors)), dtype=np.float32)
        for place, modality in enumerate(vectors):
            if modality in self.frontend.projections:
                placed[:, place] = shares[:, self.frontend.modalities.index(modality)]
        return fused, placed

    def vectors(self, projected: Projected, codes: Int64s, keep: Mask | None = None) -> tuple[Vectors, Vectors]:
        """Vectors and weights of some items of a catalogue, as `combine`.

        keep: (n, m) bool, the modalities to look at; all by default.
        """
        rows, mask = projected.read(codes)
        present = mask if keep is None else mask & keep
        return self.combine(rows * present[..., None], present)

    def tensors(self) -> Tensors:
        """The fitted parameters, by name."""
        return {}

    def restore(self, tensors: Tensors) -> None:
        """Loads what `tensors` gave. Raises KeyError or RuntimeError if it is not that."""
        return

    def save_catalogue(self, folder: Path) -> None:
        """Writes what the catalogue's items need to be fused again, beside `tensors`."""
        return

    def load_catalogue(self, folder: Path) -> None:
        """Reads what `save_catalogue` wrote. Raises ShardCorrupt if it is not that."""
        return


def given_weights(frontend: Frontend, settings: Fuse) -> Vectors:
    """The configured weights of a frontend's modalities, (m,) float32. Raises ConfigError if all are zero."""
    weights = np.array([settings.weight(modality) for modality in frontend.modalities], dtype=np.float32)
    if len(weights) and not weights.any():
        raise ConfigError(f"fuse.weights: give at least one of {', '.join(frontend.modalities)} a weight above 0")
    return weights
