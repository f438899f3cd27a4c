"""Embedding shards: Parquet files, each one modality of one bucket of items, or what several share, or users' profiles.

| column | what |
|---|---|
| item_id, or user_id | string, in the order of the staged items |
| content_hash | 32 bytes, of what was decoded from; null where nothing was, or another night may decode it |
| vector | FixedSizeList<float16>[d] of unit norm, null where missing |
| error | why it is missing, null where it is not |

The schema's metadata are those of `Described`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.artefacts.encoded import NONE, Encoded, Hashes, Reasons, Results, hash_column, hashes_of
from pipeline.artefacts.read import VERIFIED, readable
from pipeline.artefacts.runs import StepReceipt, total
from pipeline.artefacts.vectors import ROWS_PER_GROUP, matrix
from pipeline.artefacts.write import write_table
from pipeline.config import Modality
from pipeline.errors import ShardCorrupt
from pipeline.interactions import Floats, Int64s, Mask

# Means, deviations and axes come from the first buckets that hold so many rows: a bucket is a random part of the
# catalogue, and the error of a deviation from so many rows is .3 %.
SAMPLE_ROWS = 65_536
EXAMPLES = 20
REMOVE = "remove it and run the night again"


# A modality of which fewer items have a vector is more likely a mistake than a rare one.
THIN_SHARE = 0.05


@dataclass(frozen=True)
class Described:
    """What a reader of a shard needs to know of its vectors. d: their width. space: the joint space that they lie in.

    cosine: mean cosine of `precision` to fp32 on a sample of the catalogue.
    """

    encoder: str
    model: str
    d: int
    space: str
    precision: str
    cosine: float


@dataclass(frozen=True)
class Summary:
    """What became of the rows of a shard. missing_rows: without a vector. unreadable_rows: of these, those that do not
    merely lack the modality. transient_rows: of these, those to be tried again. errors: rows by reason. examples: some
    unreadable rows, each its item_id and reason.
    """

    rows: int
    missing_rows: int
    unreadable_rows: int
    transient_rows: int
    errors: dict[str, int]
    examples: list[list[str]]

    @staticmethod
    def of(modality: Modality, ids: pa.Array, results: Results) -> Summary:
        """The summary of a shard's rows."""
        rows = np.flatnonzero(results.missing)
        errors = list(zip(ids.take(pa.array(rows)).to_pylist(), results.errors[rows].tolist(), strict=True))
        unreadable = [[item_id, error] for item_id, error in errors if error != f"no {modality}"]
        reasons = Counter(kind_of(error) for _, error in errors)
        transient = int(results.transient.sum())
        by_reason = dict(sorted(reasons.items()))
        return Summary(len(ids), len(errors), len(unreadable), transient, by_reason, unreadable[:EXAMPLES])


def kind_of(reason: str) -> str:
    """A reason without what differs from row to row: `file not found: a.jpg` is one reason for all files, and so is
    `90 bytes, over the limit of 80` for all sizes.
    """
    return re.sub(r"\b\d+\b", "N", re.split(r"[:(]", reason)[0].strip())


def thin_modalities(receipts: Iterable[StepReceipt]) -> list[str]:
    """A sentence for each modality that no item has a vector of, or hardly any. receipts: of a run's steps."""
    buckets: dict[Modality, list[StepReceipt]] = {}
    for receipt in receipts:
        step, modality, part = (*receipt.step.split("."), "", "")[:3]
        if step == "extract" and part.startswith("bucket-"):
            buckets.setdefault(modality, []).append(receipt)
    sentences = []
    for modality, own in buckets.items():
        whole, errors = total(modality, own), Counter[str]()
        for receipt in own:
            errors.update(receipt.noted(Summary).errors)
        present = whole.rows - whole.missing_rows
        if errors and present < THIN_SHARE * whole.rows:
            reason, rows = max(errors.items(), key=lambda entry: (entry[1], entry[0]))
            sentences.append(
                f"extract.{modality}: {present} of {whole.rows} items have a vector; of {rows} others: {reason}; "
                f"mend that, or leave the modality out with extract.{modality}: null"
            )
    return sentences


def write_shard(path: Path, key: str, ids: pa.Array, hashes: Hashes, results: Results, described: Described) -> None:
    """Writes a shard. key: the name of the ids' column. hashes: of each row's content."""
    missing, rows = results.missing, len(ids)
    vectors = results.vectors if results.vectors.shape[1] else np.zeros((rows, max(1, described.d)), np.float16)
    numbers = pa.array(vectors.ravel())
    table = pa.table(
        {
            key: ids,
            "content_hash": hash_column(np.where(results.transient, NONE, hashes)),
            "vector": pa.FixedSizeListArray.from_arrays(numbers, vectors.shape[1], mask=pa.array(missing)),
            "error": pa.array(results.errors, pa.string()),
        }
    ).replace_schema_metadata({name: str(value) for name, value in asdict(described).items()})
    plain = [key, "content_hash", "error"]
    write_table(table, path, row_group_size=ROWS_PER_GROUP, use_dictionary=["error"], write_statistics=plain)


def read_hashes(path: Path) -> Hashes:
    """The content hash of each row of a shard. Raises ShardCorrupt if it cannot be read."""
    return hashes_of(_table(path, ["content_hash"])["content_hash"])


def read_encoded(path: Path) -> Encoded:
    """What a shard says of its rows' contents. Raises ShardCorrupt if it cannot be read."""
    table = _table(path, ["content_hash", "vector", "error"])
    vectors = matrix(table["vector"]).astype(np.float16)
    errors = table["error"].to_numpy()
    return Encoded(hashes_of(table["content_hash"]), Results(vectors, errors, np.zeros(len(errors), bool)))


def read_failed(path: Path) -> Mask:
    """(n,) bool, which rows of a shard have no vector. Raises ShardCorrupt if it cannot be read."""
    return np.asarray(pc.is_valid(_table(path, ["error"])["error"]))


def read_failures(path: Path) -> tuple[list[str], Hashes, Reasons]:
    """The items of a shard without a vector: ids, content hashes, and why. Raises ShardCorrupt if it cannot be read."""
    table = _table(path, ["item_id", "content_hash", "error"])
    table = table.filter(pc.is_valid(table["error"]))
    return table["item_id"].to_pylist(), hashes_of(table["content_hash"]), table["error"].to_numpy()


class Shards:
    """The shards of every modality, one a bucket, in the same order of buckets: that of the catalogue's item codes."""

    def __init__(self, paths: Mapping[Modality, Sequence[Path]]) -> None:
        """paths: of each modality, one a bucket. Whatever reads raises ShardCorrupt if a shard cannot be read."""
        self.paths = {modality: list(of_buckets) for modality, of_buckets in paths.items()}

    @cached_property
    def starts(self) -> Int64s:
        """(buckets + 1,) int64: the code of each bucket's first item, and the number of items."""
        rows = [_open(path).metadata.num_rows for path in self._first]
        return np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)

    @property
    def modalities(self) -> list[Modality]:
        """The modalities, in their order."""
        return list(self.paths)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def items(self) -> int:
        """The number of items."""
        return int(self.starts[-1])

    def name(self, bucket: int) -> str:
        """The bucket's name, such as bucket-00007."""
        return self._first[bucket].name.rsplit("-", 1)[0]

    def read(self, bucket: int) -> tuple[pa.ChunkedArray, dict[Modality, Floats]]:
        """The item ids of a bucket, and modality to (n, d) float32, NaN where missing.

        Raises ShardCorrupt if a shard cannot be read or the modalities hold different items.
        """
        vectors = {m: _table(paths[bucket], ["vector"])["vector"] for m, paths in self.paths.items()}
        return self.ids(bucket), {m: matrix(column) for m, column in vectors.items()}

    def ids(self, bucket: int) -> pa.ChunkedArray:
        """The item ids of a bucket. Raises as `read`."""
        ids, *others = (_table(paths[bucket], ["item_id"])["item_id"] for paths in self.paths.values())
        if not all(other.equals(ids) for other in others):
            path = self._first[bucket]
            raise ShardCorrupt(f"{path}: the modalities' shards hold different items; run with --full")
        return ids

    def missing(self, code: int) -> dict[Modality, str]:
        """The modalities that an item, by its code, lacks, and why."""
        bucket = int(np.searchsorted(self.starts, code, side="right")) - 1
        row = code - int(self.starts[bucket])
        reasons = {m: _table(paths[bucket], ["error"])["error"][row].as_py() for m, paths in self.paths.items()}
        return {modality: reason for modality, reason in reasons.items() if reason}

    def sampled(self) -> range:
        """The first buckets that together hold SAMPLE_ROWS items, or all."""
        return range(min(len(self), int(np.searchsorted(self.starts, SAMPLE_ROWS))))

    def present(self, modality: Modality) -> Iterator[Floats]:
        """The vectors of a modality in the sampled buckets, (n, d), without the missing ones.

        Where these hold none, later buckets are read until one does.
        """
        any_yet, sampled = False, self.sampled()
        for bucket in range(len(self)):
            if any_yet and bucket not in sampled:
                return
            column = _table(self.paths[modality][bucket], ["vector"])["vector"]
            vectors = matrix(pc.drop_null(column))
            if len(vectors):
                any_yet = True
                yield vectors

    def vectors(self, modality: Modality) -> Floats:
        """A modality's vectors, (n_items, d) float32, in the catalogue's order, NaN rows where missing."""
        paths = self.paths[modality]
        # A bucket without a vector does not know how wide it would be.
        width = max(_open(path).schema_arrow.field("vector").type.list_size for path in paths)
        vectors = np.full((self.items, width), np.nan, np.float32)
        for start, path in zip(self.starts, paths, strict=False):
            part = matrix(_table(path, ["vector"])["vector"])
            if not np.isnan(part[:, 0]).all():
                vectors[start : start + len(part)] = part
        return vectors

    @property
    def _first(self) -> list[Path]:
        return next(iter(self.paths.values()), [])


def _open(path: Path) -> pq.ParquetFile:
    with readable(path, hint=REMOVE):
        return pq.ParquetFile(path, **VERIFIED)


def _table(path: Path, columns: Sequence[str] = ("item_id", "vector")) -> pa.Table:
    with readable(path, hint=REMOVE):
        return pq.read_table(path, columns=list(columns), use_threads=False, **VERIFIED)
