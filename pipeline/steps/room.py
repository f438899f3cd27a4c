"""Whether a workspace has room for a night, as far as the number of its items tells."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from pipeline.errors import WorkspaceError

# What a night of a million items and two modalities left on disk, of models, vectors and index, was 9.9 GB.
ITEM_BYTES = 10_000


def room(workspace: Path, items: int) -> str:
    """How much is free, and what a night that begins with nothing leaves, in a sentence.

    Raises WorkspaceError if the workspace cannot be written, or has less room than that.
    """
    existing = next(folder for folder in (workspace, *workspace.absolute().parents) if folder.is_dir())
    if not os.access(existing, os.W_OK):
        raise WorkspaceError(f"workspace {workspace}: {existing} cannot be written; give a folder that can be")
    free, needed = shutil.disk_usage(existing).free, items * ITEM_BYTES
    if free < needed:
        raise WorkspaceError(
            f"workspace {workspace}: {free / 1e9:.1f} GB are free, and a night of {items} items leaves about "
            f"{needed / 1e9:.1f} GB; make room, or lower publish.keep_runs"
        )
    return f"{free / 1e9:.0f} GB are free, and a night of {items} items leaves about {needed / 1e9:.1f} GB"
