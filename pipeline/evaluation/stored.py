"""Scorers that lie in files while others rank, so that of all models one is in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.config.kinds import Lazy
from pipeline.evaluation.ranking import Scorer

if TYPE_CHECKING:
    import scipy.sparse as sp
else:
    sp = Lazy("scipy.sparse")


class StoredScorers(MutableMapping[str, Scorer]):
    """Scorers by name. What `[name]` returns is read anew each time: it is in memory as long as the caller holds it.

    Dense arrays and sparse matrices in fields of dataclasses are written; what else a scorer has stays as it is.
    """

    def __init__(self, folder: Path) -> None:
        """folder: of the files, which are the caller's to remove."""
        self._folder = folder
        folder.mkdir(exist_ok=True)
        self._scorers: dict[str, Any] = {}

    def __setitem__(self, name: str, scorer: Scorer) -> None:
        self._scorers[name] = self._written(scorer, name)

    def __getitem__(self, name: str) -> Scorer:
        scorer: Scorer = _read(self._scorers[name])
        return scorer

    def __delitem__(self, name: str) -> None:
        del self._scorers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._scorers)

    def __len__(self) -> int:
        return len(self._scorers)

    def _written(self, value: Any, name: str) -> Any:
        path = self._folder / name
        if isinstance(value, np.ndarray):
            np.save(array := path.with_suffix(".npy"), value)
            return _File(array, np.load)
        if is_dataclass(value) and not isinstance(value, type):
            parts = {own.name: self._written(getattr(value, own.name), f"{name}-{own.name}") for own in fields(value)}
            return replace(value, **parts)
        if sp.issparse(value):
            sp.save_npz(matrix := path.with_suffix(".npz"), value, compressed=False)
            return _File(matrix, sp.load_npz)
        return value


@dataclass(frozen=True)
class _File:
    """Stands in for what lies in a file."""

    path: Path
    load: Callable[[Path], Any]


def _read(value: Any) -> Any:
    if isinstance(value, _File):
        return value.load(value.path)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{own.name: _read(getattr(value, own.name)) for own in fields(value)})
    return value
