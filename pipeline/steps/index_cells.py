"""Index, what takes longest of it where vectors are many: which cell each of them is in, in parts.

- centres: learned once from a seeded sample, `centres/INDEX/DIGEST`, for an index that does not compare every vector;
- cells: a part is PART_ROWS items of the catalogue, whether or not they are in the index:
  `cells/INDEX/part-NNNNN-DIGEST.parquet`, 4 bytes an item.

Peak memory: the sample, which is `clusters.TRAINING_ROWS` vectors a cell, or a part's vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from pipeline.artefacts.fused import Fused
from pipeline.artefacts.read import FULL, read_table, rows_of
from pipeline.artefacts.vectors import matrix, read_rows, vector_column, width_of, write_groups
from pipeline.artefacts.write import write_table
from pipeline.errors import StepFailed
from pipeline.indexing.clusters import (
    BLOCK_ROWS,
    Clusters,
    Indexed,
    cell_count,
    centres_of,
    nearest_cells,
    sample_of,
)
from pipeline.indexing.judged import Targets
from pipeline.indexing.planner import compares_all
from pipeline.interactions import Floats, Interactions, Mask
from pipeline.night import Night, StepReceipt
from pipeline.steps import train
from pipeline.steps.ingest import staged_of
from pipeline.steps.parts import SHORTEST, as_task, grouped, unknown
from pipeline.storage.documents import Json
from pipeline.storage.files import sha256_of
from pipeline.workspace import digest

VERSION = 1
Of = Literal["recommend", "content"]
INDEXES: tuple[Of, ...] = ("recommend", "content")
PART_ROWS = 4 * BLOCK_ROWS
# Of comparing a number of a vector with one of a centre, by two threads.
NANOSECONDS_A_NUMBER = 0.06
FILE = "centres.parquet"


def indexed_items(has_content: Mask, history: Interactions) -> Mask:
    """The items that the index holds: those that have content, or that anybody chose."""
    return has_content | (history.item_counts() > 0)


@dataclass(frozen=True)
class _Parted:
    """An index whose cells are found in parts. path: of the catalogue's vectors, (n_items, width)."""

    night: Night
    of: Of
    path: Path
    n_items: int
    width: int

    @staticmethod
    def read(night: Night, of: Of) -> _Parted:
        fused = Fused(night.folder_of("fuse")).item_vectors
        path = train.read(night).published.item_vectors if of == "recommend" else fused
        return _Parted(night, of, path, rows_of(path), width_of(path))

    @property
    def n_parts(self) -> int:
        return -(-self.n_items // PART_ROWS)

    @property
    def centres_key(self) -> str:
        """Names the centres by all that they are learned from."""
        made_of = [self.night.receipt("fuse").digest]
        if self.of == "recommend":
            made_of += [self.night.receipt("train").digest, staged_of(self.night).digest("interactions")]
        return digest("centres", VERSION, self.of, *made_of)

    @property
    def centres_path(self) -> str:
        return f"centres/{self.of}/{self.centres_key}"

    def part_path(self, part: int, centres: StepReceipt) -> str:
        """Named by the centres' own bytes: machines of other kinds may learn others from the same vectors."""
        return f"cells/{self.of}/part-{part:05d}-{digest(self.centres_key, centres.outputs)}.parquet"

    def part_step(self, part: int) -> str:
        return f"index.cells.{self.of}.part-{part:05d}"

    @property
    def centres_step(self) -> str:
        return f"index.centres.{self.of}"

    def indexed(self) -> Mask:
        """Which items the index holds, (n_items,) bool."""
        has_content = Fused(self.night.folder_of("fuse")).content()[0]
        return (
            has_content if self.of == "content" else indexed_items(has_content, staged_of(self.night).read_everything())
        )

    def has_cells(self) -> bool:
        """Whether the index is parted into cells."""
        targets = Targets(self.night.config.index, self.night.config.seed)
        labelled = self.of == "content"
        if compares_all(self.n_items, self.width, labelled, targets):
            return False  # nor has one of fewer
        return not compares_all(int(self.indexed().sum()), self.width, labelled, targets)

    def seconds(self) -> float:
        """About what a part takes."""
        numbers = min(PART_ROWS, self.n_items) * cell_count(self.n_items) * self.width
        return numbers * NANOSECONDS_A_NUMBER * 1e-9

    def missing(self, centres: StepReceipt) -> dict[int, float]:
        """The parts that are not there, and about what each takes."""
        paths = {part: self.part_path(part, centres) for part in range(self.n_parts)}
        seconds, artefact = self.seconds(), self.night.workspace.artefact
        return {part: seconds for part, path in paths.items() if self.night.full or artefact(path) is None}

    def make_centres(self) -> StepReceipt:
        return self.night.step(self.centres_step, f"centres/{self.of}", self.centres_key, self._write_centres)

    def make_part(self, part: int, centres: StepReceipt) -> StepReceipt:
        path = self.part_path(part, centres)
        return self.night.shard(self.part_step(part), path, lambda file: self._write_part(part, file))

    def make_missing(self) -> list[StepReceipt]:
        """The centres and every part; what this run has made already is not made again."""
        centres = self.known_centres() or self.make_centres()
        paths = {part: self.part_path(part, centres) for part in range(self.n_parts)}
        return [
            centres,
            *(self._done(self.part_step(part), path) or self.make_part(part, centres) for part, path in paths.items()),
        ]

    def known_centres(self) -> StepReceipt | None:
        """The receipt of the centres that this run has learned already."""
        return self._done(self.centres_step, self.centres_path)

    def _done(self, step: str, path: str) -> StepReceipt | None:
        """What this run has left at a path. A night that is to compute everything again reads it to be sure of it."""
        receipt = self.night.done(step)
        if receipt is None or receipt.path != path or self.night.workspace.artefact(path) is None:
            return None
        files = receipt.outputs.items() if self.night.full else ()
        return receipt if all(sha256_of(self.night.workspace.path(file)) == sha256 for file, sha256 in files) else None

    def centres(self) -> Floats:
        return matrix(read_table(self.night.workspace.path(self.centres_path, FILE), ["vector"], hint=FULL)["vector"])

    def _write_centres(self, folder: Path) -> Json:
        rows = np.flatnonzero(self.indexed())
        count = cell_count(len(rows))
        sample = read_rows(self.path, rows[sample_of(len(rows), count)])
        centres = centres_of(sample, count)
        write_groups(folder / FILE, [pa.table({"vector": vector_column(centres)})])
        return {"centres": count}

    def _write_part(self, part: int, path: Path) -> Json:
        rows, centres = np.arange(part * PART_ROWS, min((part + 1) * PART_ROWS, self.n_items)), self.centres()
        vectors = read_rows(self.path, rows)
        blocks = (vectors[start : start + BLOCK_ROWS] for start in range(0, len(vectors), BLOCK_ROWS))
        cell = np.concatenate([nearest_cells(block, centres) for block in blocks])
        write_table(pa.table({"cell": cell.astype(np.int32)}), path)
        return {"rows": len(cell)}


def tasks(night: Night) -> list[Json]:
    """What a scheduler maps over, once the centres are learned; nothing where the step alone is about as fast."""
    length = night.config.nightly.task_seconds
    parted = [each for each in (_Parted.read(night, of) for of in INDEXES) if each.has_cells()]
    if sum(each.seconds() * each.n_parts for each in parted) < 2 * SHORTEST * length:
        return []
    missing = {each.of: each.missing(each.make_centres()) for each in parted}
    return [as_task(group, "--of", "--part") for group in grouped(missing, length)]


def run(night: Night, of: str, parts: Sequence[int]) -> list[StepReceipt]:
    """Makes some parts. Raises StepFailed if there are no such parts, or no centres yet."""
    if of not in INDEXES:
        raise StepFailed(f"--of {of}: the indexes are {' and '.join(INDEXES)}")
    parted = _Parted.read(night, of)
    if wrong := unknown(parts, parted.n_parts):
        raise StepFailed(f"--part {wrong[0]}: this catalogue has parts 0 to {parted.n_parts - 1}")
    centres = parted.known_centres()
    if centres is None:
        raise StepFailed(
            f"run {night.run_id} has no centres of {of}; run `medley index --prepare` with this run id first"
        )
    return [parted.make_part(part, centres) for part in parts]


def complete(night: Night) -> None:
    """Makes what is missing of every index that is parted into cells."""
    for of in INDEXES:
        parted = _Parted.read(night, of)
        if parted.has_cells():
            parted.make_missing()


def read(night: Night, of: Of, items: Indexed) -> Clusters:
    """The cells of an index's items, as `complete` left them."""
    parted = _Parted.read(night, of)
    receipts = parted.make_missing()
    parts = [read_table(night.workspace.path(receipt.path), hint=FULL)["cell"].to_numpy() for receipt in receipts[1:]]
    seconds = sum(receipt.seconds for receipt in receipts)
    return Clusters(items, parted.centres(), np.concatenate(parts)[items.rows].astype(np.int64), seconds)
