"""A published index whose items have attributes of many types, and the same under another name."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artefacts.published import CURRENT
from tests.receipts import write_receipt


def with_attributes(path: Path) -> None:
    """Gives items attributes of many types, some of names that places have a meaning for."""
    table, day = pq.read_table(path), datetime(2026, 1, 2, tzinfo=UTC)
    attributes: dict[str, object] = {
        "id": 7,
        "values": [1.5],
        "embedding": "x",
        "day": day,
        "days": [day.date()],
        "Size": None,
    }
    for name, value in attributes.items():
        table = table.append_column(name, pa.array([value] * len(table)))
    pq.write_table(table, path)
    write_receipt(path.parent)


def publish_again(workspace: Path, digest: str) -> None:
    """Publishes the same index under another name."""
    shutil.copytree(workspace / "index" / "planted", workspace / "index" / digest)
    write_receipt(workspace / "index" / digest)
    point_to(workspace, digest)


def point_to(workspace: Path, digest: str) -> None:
    """Publishes an index that is there."""
    document = json.loads((workspace / CURRENT).read_text())
    (workspace / CURRENT).write_text(json.dumps({**document, "index": f"index/{digest}", "digest": digest}))
