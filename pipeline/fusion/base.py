"""What every kind of fusion is made of: modalities become sides of one width, and sides become one vector.

For modality m with vectors x, mean μ and standard deviation σ over a sample of the catalogue, V the principal axes of
the correlation matrix (Pearson 1901) and R a seeded random rotation, the side of an item is

    x̂_m = unit((x - μ) / σ · V · R)

The rotation spreads what the modalities have in common by chance evenly over the width: without it the first axis of
one modality would meet the first axis of another, and unlike things would look alike. Modalities of one joint space
(CLIP's text and image) are alike as they are: they share V and R, found on both, and keep only means of their own,
which takes away the gap between modalities (Liang et al. 2022, "Mind the gap").

A modality that an item lacks is masked, never filled in. Shapes: n items, m modalities, w the fused width.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt
from safetensors import safe_open
from safetensors.numpy import save_file

from pipeline.artefacts.read import readable
from pipeline.config import Fuse, Modality
from pipeline.fusion.moments import Moments, Projection, Vectors, rotation

Mask = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int64]
Tensors = dict[str, np.ndarray]
FILE = "fusion.safetensors"


class Sides(Protocol):
    """Where sides are read from, by the items' codes."""

    def read(self, codes: Codes) -> tuple[Vectors, Mask]:
        """Sides (n, m, w) float32, zero where missing, and mask (n, m) of those items, both the caller's to change."""


class Loose:
    """Sides that are in memory, as `Sides`."""

    def __init__(self, sides: Vectors, mask: Mask) -> None:
        self.sides, self.mask = sides, mask

    def read(self, codes: Codes) -> tuple[Vectors, Mask]:
        """See Sides."""
        return self.sides[codes], self.mask[codes]


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
        present = {modality: found for modality, found in moments.items() if found.count}
        named = {modality: (spaces or {}).get(modality) or modality for modality in present}
        projections: dict[Modality, Projection] = {}
        for modality, found in present.items():
            like = [other for other in present if named[other] == named[modality]]
            turned = rotation(width, [seed, list(batches).index(like[0])])
            projections[modality] = found.projection(width, turned, [present[other] for other in like])
        return cls(projections, width)

    def sides(self, vectors: Mapping[Modality, Vectors]) -> tuple[Vectors, Mask]:
        """Modality to (n, d), NaN where missing, becomes sides (n, m, w), zero where missing, and mask (n, m)."""
        n = len(next(iter(vectors.values())))
        sides = np.zeros((n, len(self.projections), self.width), dtype=np.float32)
        mask = np.zeros((n, len(self.projections)), dtype=bool)
        for place, (modality, projection) in enumerate(self.projections.items()):
            # A bucket without items does not know how wide its vectors would be.
            if modality in vectors and n:
                side = projection.apply(vectors[modality])
                mask[:, place] = ~np.isnan(side[:, 0])
                side[~mask[:, place]] = 0
                sides[:, place] = side
        return sides, mask

    def only(self, kept: Mask) -> Frontend:
        """Without some of the modalities; kept: (m,) bool."""
        named = zip(self.projections.items(), kept, strict=True)
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


@dataclass(frozen=True)
class Made:
    """What a fusion is made from, beside its tensors. settings: of a learned kind, whose network they shape."""

    kind: str
    modalities: list[Modality]
    width: int
    settings: Fuse | None

    def to_json(self) -> str:
        """As one line, keys in order."""
        plain = self.settings.model_dump(mode="json") if self.settings else None
        return json.dumps({**self.__dict__, "settings": plain}, sort_keys=True)

    @classmethod
    def of_json(cls, text: str) -> Made:
        """The reverse of `to_json`."""
        found = json.loads(text)
        settings = found.pop("settings")
        return cls(**found, settings=Fuse.model_validate(settings) if settings else None)


class Fusion(ABC):
    """A fitted fusion: vectors of any subset of an item's modalities become one vector of unit norm.

    kind: as in `fuse.kind`.
    """

    kind: ClassVar[str]
    settings: Fuse | None = None

    def __init__(self, frontend: Frontend) -> None:
        self.frontend = frontend

    @abstractmethod
    def combine(self, sides: Vectors, mask: Mask) -> tuple[Vectors, Vectors]:
        """Fuses sides (n, m, w) float32 under mask (n, m).

        Returns the fused vectors (n, w), unit norm, NaN where an item has no modality, and how much each modality
        counted (n, m), rows sum to 1, or are 0 where it has none.
        """

    def catalogue(self, sides: Sides, codes: Codes) -> tuple[Vectors, Vectors]:
        """Vectors and shares of some items of a catalogue, as `combine`."""
        return self.vectors(sides, codes)

    def transform(self, vectors: Mapping[Modality, Vectors]) -> tuple[Vectors, Vectors]:
        """Fuses n items, each taken for itself.

        vectors: modality to (n, d), NaN in rows where it is missing. Returns the fused vectors (n, w), unit norm, NaN
        where an item has no modality, and each modality's share (n, modalities), in the order given, rows sum to 1.
        """
        fused, shares = self.combine(*self.frontend.sides(vectors))
        placed = np.zeros((len(fused), len(vectors)), dtype=np.float32)
        for place, modality in enumerate(vectors):
            if modality in self.frontend.projections:
                placed[:, place] = shares[:, self.frontend.modalities.index(modality)]
        return fused, placed

    def vectors(self, sides: Sides, codes: Codes, keep: Mask | None = None) -> tuple[Vectors, Vectors]:
        """Vectors and weights of some items of a catalogue, as `combine`.

        keep: (n, m) bool, the modalities to look at; all by default.
        """
        found, mask = sides.read(codes)
        kept = mask if keep is None else mask & keep
        return self.combine(found * kept[..., None], kept)

    @abstractmethod
    def tensors(self) -> Tensors:
        """What the kind has learned, by name."""

    def save_catalogue(self, folder: Path) -> None:
        """Writes what the catalogue's items need to be fused again; see `load_catalogue`."""
        self.save(folder / FILE)

    def save(self, path: Path) -> None:
        """Writes safetensors; what the kind is made from is metadata."""
        made = Made(self.kind, self.frontend.modalities, self.frontend.width, self.settings)
        metadata = {"fusion": made.to_json()}
        tensors = {name: np.ascontiguousarray(tensor) for name, tensor in self.tensors().items()}
        save_file({**self.frontend.tensors(), **tensors}, path, metadata=metadata)


def read(path: Path) -> tuple[Made, Tensors]:
    """What `Fusion.save` wrote.

    Raises ShardCorrupt if the file is not that.
    """
    with readable(path, "no fusion weights"), safe_open(path, framework="numpy") as file:
        return Made.of_json(file.metadata()["fusion"]), {key: file.get_tensor(key) for key in list(file.keys())}
