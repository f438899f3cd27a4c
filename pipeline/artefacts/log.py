"""The log as `ingest` codes it: arrays in files, mapped into memory by their readers.

`log/` holds what users chose, `shown/` what they were shown; in each, one folder for each part of the split and one for
`everything`: `user.npy` and `item.npy` int32, `age_days.npy` float64, `weight.npy` float32, all sorted by user, then
oldest first, then item. Ages are counted from the newest choice of the parts that may be learned from, those in
`everything` from the newest of all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.artefacts.read import readable
from pipeline.interactions import Interactions, Mask, merged

PARTS = ("train", "validation", "test", "held_out")
LEARNT = PARTS[:2]
EVERYTHING = "everything"
COLUMNS = {"user": np.int32, "item": np.int32, "age_days": np.float64, "weight": np.float32}
MICROSECONDS_PER_DAY = 86_400e6


@dataclass(frozen=True)
class Log:
    """What may be learned and chosen from, coded: the parts train and validation of the staged log.

    users: everyone in the staged log, then those who have a profile and no choice; user and item codes are positions in
    `users` and in the catalogue's `items`.
    cold: (n_items,) bool, held out of the evaluated training.
    parts: the interactions of each part; ages are counted from the newest of train and validation.
    showings: what users were shown in each part, each of weight 1, aged likewise; empty if the source does not tell.
    """

    users: list[str]
    items: list[str]
    cold: Mask
    parts: Mapping[str, Interactions]
    showings: Mapping[str, Interactions] = field(default_factory=dict)

    @property
    def entries(self) -> Interactions:
        """The interactions of every part that this log holds, in one order."""
        return self._merged[0]

    @property
    def part(self) -> npt.NDArray[np.int8]:
        """The part of each of `entries`: (n,) int8, position in PARTS."""
        return self._merged[1]

    def of(self, *parts: str) -> Interactions:
        """The interactions of some parts. Raises LookupError for a part that this log does not hold."""
        self._check(parts)
        return self.entries if set(parts) == set(self.parts) else merged([self.parts[part] for part in parts])[0]

    def shown(self, *parts: str) -> Interactions:
        """What users were shown in some parts, chosen or not; an age may be below 0. Empty if the source does not tell.

        Raises LookupError for a part that this log does not hold.
        """
        self._check(parts)
        if not self.showings:
            return self.parts[parts[0]].subset(np.zeros(len(self.parts[parts[0]]), bool))
        return merged([self.showings[part] for part in parts])[0]

    @cached_property
    def _merged(self) -> tuple[Interactions, npt.NDArray[np.int8]]:
        names = [name for name in PARTS if name in self.parts]
        entries, order = merged([self.parts[name] for name in names])
        codes = np.array([PARTS.index(name) for name in names], np.int8)
        return entries, np.repeat(codes, [len(self.parts[name]) for name in names])[order]

    def _check(self, parts: Sequence[str]) -> None:
        sealed = set(parts) - set(self.parts)
        if sealed:
            raise LookupError(f"{', '.join(sorted(sealed))}: sealed; only evaluate opens it, by open_test, once a run")


@dataclass(frozen=True)
class OpenedLog(Log):
    """All four parts; a model is evaluated on test and held_out. An age in them may be below 0."""


class RowsWriter:
    """Writes coded rows, batch by batch, so that no more than one is in memory."""

    def __init__(self, folder: Path, counts: Mapping[str, int], newest: tuple[int, int]) -> None:
        """counts: rows of each part. newest: what ages are counted from, in parts and in everything, as `ts` is."""
        self._parts = [_Arrays(folder / part, counts.get(part, 0), newest[0]) for part in PARTS]
        self._everything = _Arrays(folder / EVERYTHING, sum(counts.values()), newest[1])

    def append(self, batch: pa.RecordBatch) -> None:
        """Adds rows: `user`, `item`, `ts` (µs of the epoch), `weight`, and `part`, a position in PARTS.

        Over all batches they are sorted by user, then time, then item.
        """
        columns = {name: batch[name].to_numpy() for name in ("user", "item", "ts", "weight")}
        part = batch["part"].to_numpy()
        self._everything.append(columns)
        for code, arrays in enumerate(self._parts):
            arrays.append({name: values[part == code] for name, values in columns.items()})


class _Arrays:
    """The arrays of one folder, of a length that is known, filled from the front."""

    def __init__(self, folder: Path, rows: int, newest: int) -> None:
        folder.mkdir(parents=True)
        self._columns = {
            name: np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=dtype, shape=(rows,))
            for name, dtype in COLUMNS.items()
        }
        self._newest, self._start = newest, 0

    def append(self, columns: Mapping[str, npt.NDArray[np.generic]]) -> None:
        ages = (self._newest - columns["ts"].astype(np.int64)) / MICROSECONDS_PER_DAY
        stop = self._start + len(ages)
        for name, array in self._columns.items():
            array[self._start : stop] = ages if name == "age_days" else columns[name]
        self._start = stop


def map_rows(folder: Path, n_users: int, n_items: int) -> Interactions:
    """What one folder of arrays holds, mapped into memory: pages are read when they are touched.

    The arrays may be written to; that changes no file. Raises ShardCorrupt if one cannot be read.
    """
    with readable(folder):
        user, item, age_days, weight = (np.asarray(np.load(folder / f"{name}.npy", mmap_mode="c")) for name in COLUMNS)
    return Interactions(user, item, age_days, weight, n_users, n_items)
