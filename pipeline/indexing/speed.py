"""What it costs to read a number of a vector, so that a search's work is counted where its time would be measured.

The same vectors then give the same index whatever else runs: what a number costs is measured once a machine, and kept.
"""

from __future__ import annotations

import platform
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.config.kinds import Lazy
from pipeline.indexing.judged import one_thread
from pipeline.workspace import Workspace, digest

if TYPE_CHECKING:
    import faiss
else:
    faiss = Lazy("faiss")

FOLDER = "machines"
# More than caches hold: 64 MB.
ROWS, WIDTH, TRIES = 1 << 18, 64, 7


def nanoseconds_a_number(workspace: Workspace) -> float:
    """Of exact search by one thread, as it was when this kind of machine was first seen in the workspace."""
    name = _processor()
    path = f"{FOLDER}/{digest(name)}.json"
    known = workspace.read_json(path)
    if known is None:
        workspace.write_json(path, {"processor": name, "nanoseconds_a_number": measured()})
        known = workspace.read_json(path) or {}
    return float(known["nanoseconds_a_number"])


def measured() -> float:
    """The fastest of a few tries, which neighbours slow down least, to two digits."""
    index, query, times = faiss.IndexFlatIP(WIDTH), np.ones((1, WIDTH), np.float32), []
    index.add(np.random.default_rng(0).standard_normal((ROWS, WIDTH), np.float32))
    with one_thread():
        for _ in range(TRIES):
            begin = time.perf_counter()
            index.search(query, 1)
            times.append(time.perf_counter() - begin)
    return float(f"{min(times) * 1e9 / (ROWS * WIDTH):.2g}")


def _processor() -> str:
    with suppress(OSError, IndexError):
        return Path("/proc/cpuinfo").read_text("utf-8").split("model name")[1].split(":", 1)[1].splitlines()[0].strip()
    return platform.processor() or platform.machine()
