"""That what is written in blocks is what FAISS writes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import faiss
import numpy as np
import pytest

from pipeline.indexing.inverted_file import InvertedFile
from pipeline.interactions import Floats

CELLS, WIDTH = 7, 4
RANDOM = np.random.default_rng(0)
VECTORS = RANDOM.standard_normal((200, WIDTH)).astype(np.float32)
LABELS = np.arange(200) * 3 + 5


def trained(bits: int) -> faiss.IndexIVF:
    quantizer = faiss.IndexFlatIP(WIDTH)
    quantizer.add(VECTORS[:CELLS])
    how = quantizer, WIDTH, CELLS
    if bits == 32:
        index: faiss.IndexIVF = faiss.IndexIVFFlat(*how, faiss.METRIC_INNER_PRODUCT)
    else:
        kind = {16: faiss.ScalarQuantizer.QT_fp16, 8: faiss.ScalarQuantizer.QT_8bit}[bits]
        index = faiss.IndexIVFScalarQuantizer(*how, kind, faiss.METRIC_INNER_PRODUCT, False)
    index.train(VECTORS)
    return index


def by_faiss(bits: int, cell: np.ndarray, path: Path, representatives: Floats | None = None) -> bytes:
    index = trained(bits)
    arrays = np.ascontiguousarray(VECTORS[: len(cell)]), LABELS[: len(cell)], cell
    index.add_core(len(cell), *(faiss.swig_ptr(array) for array in arrays))
    if representatives is not None:
        index.quantizer.reset()
        index.quantizer.add(representatives)
        index.nprobe = 3
    faiss.write_index(index, str(path))
    return path.read_bytes()


@pytest.mark.parametrize("bits", [32, 16, 8])
@pytest.mark.parametrize("occupied", [0, 1, 3, 4, CELLS])
def test_the_file_is_what_faiss_writes_whether_few_of_its_lists_have_anything_or_all(
    tmp_path: Path, bits: int, occupied: int
) -> None:
    cell = RANDOM.permutation(CELLS)[:occupied][RANDOM.integers(0, occupied, 200)] if occupied else np.zeros(0, int)
    blocks = [(VECTORS[at : at + 30], LABELS[at : at + 30]) for at in range(0, len(cell), 30)]
    written = InvertedFile(trained(bits), tmp_path / "ours", cell, blocks)
    assert (tmp_path / "ours").read_bytes() == by_faiss(bits, cell, tmp_path / "theirs")
    others = VECTORS[-CELLS:]
    written.index.quantizer.reset()
    written.index.quantizer.add(others)
    written.index.nprobe = 3
    written.save()
    assert (tmp_path / "ours").read_bytes() == by_faiss(bits, cell, tmp_path / "theirs", others)


def test_what_is_returned_is_searched_as_what_is_opened(tmp_path: Path) -> None:
    cell = RANDOM.integers(0, CELLS, 200)
    index = InvertedFile(trained(32), tmp_path / "ours", cell, [(VECTORS, LABELS)]).index
    index.nprobe = CELLS
    opened = faiss.read_index(str(tmp_path / "ours"))
    opened.nprobe = CELLS
    for one, other in zip(index.search(VECTORS, 5), opened.search(VECTORS, 5), strict=True):
        np.testing.assert_array_equal(one, other)
    best = (VECTORS @ VECTORS.T).argmax(axis=1)
    np.testing.assert_array_equal(index.search(VECTORS, 1)[1][:, 0], LABELS[best])


def test_a_call_that_writes_a_part_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: write(file, data[: max(1, len(data) // 2)], at))
    cell = RANDOM.integers(0, CELLS, 200)
    InvertedFile(trained(32), tmp_path / "ours", cell, [(VECTORS, LABELS)])
    assert (tmp_path / "ours").read_bytes() == by_faiss(32, cell, tmp_path / "theirs")


def test_where_a_disk_is_full_nothing_is_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def full(file: int, start: int, size: int) -> None:
        asked.append((start, size))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    cell = RANDOM.integers(0, CELLS, 200)
    with pytest.raises(OSError, match="No space left"):
        InvertedFile(trained(32), tmp_path / "ours", cell, [(VECTORS, LABELS)])
    assert asked == [(0, len(by_faiss(32, cell, tmp_path / "theirs")))]
