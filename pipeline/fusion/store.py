"""The sides of a whole catalogue on disk, for what has to read items in any order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.fusion.base import Codes, Mask
from pipeline.fusion.moments import Vectors


class SideStore:
    """A file of n × m × w: the operating system keeps in memory what is read, and drops it when it must."""

    def __init__(self, path: Path, items: int, modalities: int, width: int, dtype: npt.DTypeLike = np.float16) -> None:
        self.path = path
        self.mask = np.zeros((items, modalities), dtype=bool)
        self._file = np.lib.format.open_memmap(path, "w+", dtype, (items, modalities, width))

    def __len__(self) -> int:
        return len(self.mask)

    def write(self, start: int, sides: Vectors, mask: Mask) -> None:
        """Puts the sides and the mask of consecutive items at their place."""
        self._file[start : start + len(sides)] = sides
        self.mask[start : start + len(sides)] = mask

    def read(self, codes: Codes) -> tuple[Vectors, Mask]:
        """See `base.Sides`."""
        return self._file[codes].astype(np.float32), self.mask[codes]

    def beside(self, name: str) -> SideStore:
        """A store of the same items in the same folder, float32, that is still to be written."""
        items, modalities, width = self._file.shape
        return SideStore(self.path.with_name(name), items, modalities, width, np.float32)
