"""The receipt of an index folder that a test wrote, or changed, by hand."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.artefacts.verified import BLOCKS, CARD_SHA256, write_blocks
from pipeline.storage.files import sha256_of
from pipeline.workspace import CARD, RECEIPT


def write_receipt(folder: Path) -> None:
    """Names every file of the folder with the sha256 that it has now, as `commit_folder` does."""
    if (folder / BLOCKS).exists():
        write_blocks(folder, [path.name for path in sorted(folder.glob("*.parquet"))])
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != RECEIPT]
    name, path = f"index/{folder.name}", folder / RECEIPT
    hashes = {f"{name}/{file.relative_to(folder)}": sha256_of(file) for file in files if file.name != CARD}
    sizes = {f"{name}/{file.relative_to(folder)}": file.stat().st_size for file in files}
    noted = json.loads(path.read_text())["details"] if path.exists() else {}
    details = noted | ({CARD_SHA256: sha256_of(folder / CARD)} if (folder / CARD).exists() else {})
    path.write_text(json.dumps({"path": name, "files": hashes, "bytes": sizes, "details": details}))
