"""A folder of Parquet and NumPy files, as bulk imports of vector stores and warehouses take them.

```
FOLDER/CURRENT.json                              {"digest", "path"}: what to read, replaced at the end
FOLDER/<digest>/items/part-00000.parquet         id, values (list<float>), title, attributes
FOLDER/<digest>/users/part-00000.parquet         id, values, seen
FOLDER/<digest>/lists/part-00000.parquet         user_id, rank, item_id, score
FOLDER/<digest>/items.npy · users.npy            (n, d) float32, rows as in the parts, one after the other
```
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from pydantic import Field

from pipeline.artefacts.read import among, read_table
from pipeline.artefacts.write import write_table
from pipeline.errors import ExportFailed
from pipeline.exports.base import DEPTH, DIGEST, Export, ExportSettings, first_items
from pipeline.exports.contents import BLOCK_ROWS, Block, apart
from pipeline.interactions import Floats
from pipeline.storage.documents import Json

CURRENT = "CURRENT.json"


class ParquetSettings(ExportSettings):
    """Where the files go."""

    folder: str = Field(min_length=1, description="made where it is not there")


class ParquetExport(Export):
    """See above. A part that is there is not written again: it is named at last, and of this digest."""

    Settings = ParquetSettings
    settings: ParquetSettings

    def stage(self) -> Json:
        """See Export."""
        try:
            counts = {
                "items": self._write("items", self.contents.items(), "item_id"),
                "users": self._write("users", self.contents.users(), "user_id"),
                "lists": self._write("lists", self.contents.lists(), ""),
            }
        except OSError as error:
            raise ExportFailed(f"export parquet: {error.filename or self._folder}: {error.strerror}") from None
        return {"folder": str(self._folder), "rows": counts}

    def lists(self, users: Sequence[str]) -> dict[str, list[str]]:
        """See Export."""
        columns = ["user_id", "rank", "item_id"]
        return first_items(read_table(self._folder / "lists", columns, among("user_id", users)))

    def nearest(self, users: pa.Table, vectors: Floats) -> list[list[str]]:
        """See Export: what a reader of the NumPy files would find."""
        ids = read_table(self._folder / "items", ["id"])["id"].to_pylist()
        items = np.load(self._folder / "items.npy", mmap_mode="r", allow_pickle=False)
        answers = []
        for vector, seen in zip(vectors, users["seen"].to_pylist(), strict=True):
            known, scores = set(seen or ()), items @ vector
            wanted = min(len(scores), DEPTH + len(known))
            places = np.argpartition(-scores, wanted - 1)[:wanted]
            places = places[np.argsort(-scores[places], kind="stable")]
            answers.append([ids[place] for place in places if ids[place] not in known][:DEPTH])
        return answers

    def switch(self) -> None:
        """See Export. Folders of digests that are neither served now nor were before go."""
        root = Path(self.settings.folder)
        current = root / CURRENT
        before = json.loads(current.read_text("utf-8")).get("digest") if current.is_file() else None
        if before == self.contents.digest:
            return
        temporary = root / f".{CURRENT}"
        temporary.write_text(json.dumps({"digest": self.contents.digest, "path": self.contents.digest}), "utf-8")
        os.replace(temporary, current)
        for folder in root.iterdir():
            if DIGEST.fullmatch(folder.name) and folder.name not in (before, self.contents.digest):
                shutil.rmtree(folder, ignore_errors=True)

    @property
    def _folder(self) -> Path:
        return Path(self.settings.folder) / self.contents.digest

    def _write(self, name: str, blocks: Iterator[Block], key: str) -> int:
        """Writes a table's parts, and its vectors, where it has any. key: the column that becomes `id`."""
        (self._folder / name).mkdir(parents=True, exist_ok=True)
        rows, shape = 0, (self.contents.count(name), self.contents.width)
        array, unfinished = self._folder / f"{name}.npy", self._folder / f".{name}.npy"
        vectors = np.lib.format.open_memmap(unfinished, "w+", "<f4", shape) if key else None
        for block in blocks:
            part = self._folder / name / f"part-{block.start // BLOCK_ROWS:05d}.parquet"
            if not part.exists():
                write_table(_table(block, key), unnamed := part.with_name(f".{part.name}"))
                os.replace(unnamed, part)
            if vectors is not None:
                vectors[block.start : block.start + len(block.table)] = block.vectors
            rows += len(block.table)
        if vectors is not None:
            vectors.flush()
            os.replace(unfinished, array)
        return rows


def _table(block: Block, key: str) -> pa.Table:
    if not key:
        return block.table
    table = apart(block.table, ("id", "values"))
    names = ["id" if name == key else name for name in table.column_names]
    values = pa.FixedSizeListArray.from_arrays(pa.array(block.vectors.ravel()), block.vectors.shape[1])
    return table.rename_columns(names).add_column(1, "values", values.cast(pa.list_(pa.float32())))
