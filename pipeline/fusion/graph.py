"""The graph of a catalogue: for every item its nearest in each modality, and those it was chosen with.

- Nearest neighbours are FAISS's: exact in a small catalogue, else by an inverted file whose cells hold about CELL
  items of which PROBES are searched, so that the time per item does not grow with the catalogue.
- Items chosen together are counted over the training part only, within the window, and each pair's count is divided by
  √(count_i · count_j), the cosine of Sarwar et al. 2001, so that what everybody has is nobody's neighbour. Of a log
  with more than MOST_PAIRS pairs, every k-th user is counted.
- A neighbour list has a fixed length; -1 fills it up.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from safetensors.numpy import load_file, save_file

from pipeline.artefacts.read import readable
from pipeline.fusion.projected import InFile, Mask
from pipeline.interactions import Int32s, Int64s, Interactions

FILE = "graph.safetensors"
NOBODY = -1
CELL, PROBES, EXACT_BELOW = 1024, 2, 4096
CHUNK = 16_384
MOST_PAIRS = 50_000_000


@dataclass(frozen=True)
class Graph:
    """Neighbour lists: like (n, m, neighbours) int32 per modality, together (n, co_chosen) int32; -1 is nobody."""

    like: Int32s
    together: Int32s

    def around(self, codes: Int64s) -> Int64s:
        """Every neighbour in the lists that is not among `codes`, each once, sorted."""
        neighbours = np.unique(np.concatenate([self.like.ravel(), self.together.ravel()]))
        return np.setdiff1d(neighbours[neighbours != NOBODY].astype(np.int64), codes)

    def rows(self, codes: Int64s) -> Graph:
        """The lists of some items."""
        return Graph(self.like[codes], self.together[codes])

    def without(self, items: Mask) -> Graph:
        """The lists without co-choices of some items, (n,) bool; what is alike stays."""
        gone = items[self.together] & (self.together != NOBODY)
        return Graph(self.like, np.where(gone | items[:, None], NOBODY, self.together).astype(np.int32))

    def thinned(self, share: float, partners: Int64s, rng: np.random.Generator) -> Graph:
        """The lists without a share of their edges, for as many items without any, and for none with its partner.

        partners: whom the first items are to find; -1 is nobody.
        """
        together = self.together.copy()
        first = together[: len(partners)]
        first[first == partners[:, None]] = NOBODY
        return Graph(_thin(self.like, share, rng), _thin(together, share, rng))


def save(graph: Graph, path: Path) -> None:
    """Writes the lists as safetensors."""
    save_file({"like": graph.like, "together": graph.together}, path)


def load(path: Path) -> Graph:
    """What `save` wrote. Raises ShardCorrupt if the file is not that."""
    with readable(path, "no graph"):
        tensors = load_file(path)
        return Graph(tensors["like"], tensors["together"])


def _thin(lists: Int32s, share: float, rng: np.random.Generator) -> Int32s:
    lost = rng.random(lists.shape) < share
    lost |= (rng.random(len(lists)) < share).reshape(-1, *[1] * (lists.ndim - 1))
    return np.where(lost, NOBODY, lists).astype(np.int32)


def build(projected: InFile, train: Interactions, neighbours: int, co_chosen: int, window_choices: int) -> Graph:
    """The graph of a catalogue of n items.

    neighbours: how many items like an item it has in each modality. co_chosen: how many that were chosen with it, at
    most `window_choices` apart.
    """
    like = np.full((*projected.mask.shape, neighbours), NOBODY, np.int32)
    for place in range(like.shape[1]):
        _fill_nearest(projected, place, like)
    return Graph(like, _chosen_together(train, window_choices, co_chosen))


def _fill_nearest(projected: InFile, place: int, like: Int32s) -> None:
    codes = np.flatnonzero(projected.mask[:, place])
    if len(codes) < 2:
        return
    index = _index(projected, place, codes)
    count = min(like.shape[2], len(codes) - 1)
    for start in range(0, len(codes), CHUNK):
        chunk = codes[start : start + CHUNK]
        _, rows = index.search(_vectors(projected, place, chunk), count + 1)
        # An item is its own nearest, but equal vectors may come before it, or push it out.
        other = (rows != np.arange(start, start + len(chunk))[:, None]) & (rows >= 0)
        first = np.argsort(~other, axis=1, kind="stable")[:, :count]
        nearest, real = np.take_along_axis(rows, first, axis=1), np.take_along_axis(other, first, axis=1)
        like[chunk, place, :count] = np.where(real, codes[nearest], NOBODY)


def _index(projected: InFile, place: int, codes: Int64s) -> faiss.Index:
    width = projected.read(codes[:1])[0].shape[2]
    flat = faiss.IndexFlatIP(width)
    index: faiss.Index = flat
    if len(codes) > EXACT_BELOW:
        cells = len(codes) // CELL
        index = faiss.IndexIVFFlat(flat, width, cells, faiss.METRIC_INNER_PRODUCT)
        index.cp.seed, index.nprobe = 0, PROBES
        spread = codes[np.linspace(0, len(codes) - 1, min(len(codes), 64 * cells)).astype(np.int64)]
        index.train(_vectors(projected, place, spread))
    for start in range(0, len(codes), CHUNK):
        index.add(_vectors(projected, place, codes[start : start + CHUNK]))
    return index


def _vectors(projected: InFile, place: int, codes: Int64s) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(projected.read(codes)[0][:, place])


def _chosen_together(train: Interactions, window: int, length: int) -> Int32s:
    n = train.n_items
    train = train.subset(train.some_users(MOST_PAIRS // window))
    counts = sp.csr_matrix((n, n), dtype=np.float32)
    for apart in range(1, min(window, max(len(train) - 1, 0)) + 1):
        same = (train.user[apart:] == train.user[:-apart]) & (train.item[apart:] != train.item[:-apart])
        pairs = train.item[:-apart][same], train.item[apart:][same]
        counts = counts + sp.csr_matrix((np.ones(same.sum(), np.float32), pairs), shape=(n, n))
    counts = (counts + counts.T).tocsr()
    chosen = np.maximum(np.bincount(train.item, minlength=n), 1).astype(np.float32)
    counts.data /= np.sqrt(np.repeat(chosen, np.diff(counts.indptr)) * chosen[counts.indices])
    # Largest first within each row, ties by code, so that the same log gives the same lists.
    row = np.repeat(np.arange(n), np.diff(counts.indptr))
    order = np.lexsort((counts.indices, -counts.data, row))
    rank = np.arange(len(order)) - counts.indptr[row]
    lists = np.full((n, length), NOBODY, np.int32)
    inside = rank < length
    lists[row[inside], rank[inside]] = counts.indices[order][inside]
    return lists
