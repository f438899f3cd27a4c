from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest

from pipeline.indexing.clusters import Bits, Indexed, clustered
from tests.indexes import cells_of


def test_a_cells_representative_is_as_long_as_the_longest_vector_in_it() -> None:
    generator = np.random.default_rng(0)
    items = generator.standard_normal((2_000, 8)).astype(np.float32) * generator.lognormal(size=(2_000, 1)).astype("f4")
    cells = cells_of(items)
    lengths = np.linalg.norm(cells.quantizer.reconstruct_n(0, cells.nlist), axis=1)
    norms, longest = np.linalg.norm(items, axis=1), []
    for cell in range(cells.nlist):
        members = faiss.rev_swig_ptr(cells.invlists.get_ids(cell), cells.invlists.list_size(cell))
        assert (np.diff(members) > 0).all()
        longest.append(norms[members].max(initial=0))
    np.testing.assert_allclose(lengths, longest, rtol=1e-5)


@pytest.mark.parametrize("block", [7, 1000])
@pytest.mark.parametrize("bits", [32, 16, 8])
def test_all_vectors_are_in_the_cell_that_they_belong_to(
    block: int, bits: Bits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.indexing.clusters.BLOCK_ROWS", block)
    vectors = np.random.default_rng(0).standard_normal((500, 6)).astype(np.float32)
    rows = np.arange(100, 500, 3)
    clusters = clustered(Indexed(vectors, rows, rows + 7))
    index = clusters.write(clusters.longest, bits, tmp_path / "index.faiss").index
    assert (index.ntotal, int(clusters.sizes.sum())) == (len(rows), len(rows))
    np.testing.assert_array_equal(clusters.cell, (vectors[rows] @ clusters.centres.T).argmax(axis=1))
    index.nprobe = index.nlist
    best = (vectors[:5] @ vectors[rows].T).argmax(axis=1)
    if bits == 32:
        np.testing.assert_array_equal(index.search(vectors[:5], 1)[1][:, 0], rows[best] + 7)
    for cell in range(index.nlist):
        size = index.invlists.list_size(cell)
        members = faiss.rev_swig_ptr(index.invlists.get_ids(cell), size) if size else np.zeros(0, np.int64)
        np.testing.assert_array_equal(np.flatnonzero(clusters.cell == cell), (members - 107) // 3)
