"""Indexes of a few vectors, for tests that ask one."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import faiss
import numpy as np

from pipeline.indexing.clusters import Indexed, clustered
from pipeline.interactions import Floats, Int64s


def cells_of(vectors: Floats, labels: Int64s | None = None) -> faiss.IndexIVF:
    """All vectors in cells, those of the longest vectors first."""
    clusters = clustered(Indexed(vectors, np.arange(len(vectors)), labels))
    with TemporaryDirectory() as folder:
        return clusters.write(clusters.longest, 32, Path(folder) / "index.faiss").index
