"""Item-to-item models: a user's score for an item is the sum of what the history's items say of it, s = x W.

x is a user's row of the log. W is no product of vectors, so none of them can be indexed; they stand beside the model
that is trained, as they take seconds and are hard to beat. An item that nobody chose is never recommended.

W is the largest entries of a sparse product, block by block, so that the whole product is never held.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from pipeline.evaluation.metrics import Scorer
from pipeline.evaluation.scorers import SparseProduct, SparseScorer
from pipeline.interactions import Interactions
from pipeline.recommend.grid_searched import Choice, Searched

if TYPE_CHECKING:
    import scipy.sparse as sp

# Of a product; what more rows hold is not near the processor any more.
BLOCK_ROWS = 1024
# Bits of a positive float32.
SCORE_BITS = 31
# A user of more items tells little of any two of them, and costs their square.
LONGEST_HISTORY = 500
# Of W, 0.8 GB, of which some four are held at once while settings are searched.
MOST_ENTRIES = 100_000_000


class ItemToItem(Searched["sp.csr_matrix"]):
    """A model that is a sparse matrix W, (n_items, n_items)."""

    vectors = False
    seeded = False

    def neighbours(self, settings: Choice, n_items: int) -> int:
        """How many entries a row of W has: those asked for, or fewer where items are many, which `note` says."""
        wanted, most = int(settings["neighbours"]), max(MOST_ENTRIES // n_items, 1)
        if wanted > most:
            self.note = f"keeps {most} of {wanted} neighbours of an item, as the catalogue is large"
        return min(wanted, most)

    def scorer_of(self, state: sp.csr_matrix, history: Interactions) -> Scorer:
        """Scores are x W, float32."""
        return SparseScorer(SparseProduct(history.matrix(), state))


def pairs_of(train: Interactions) -> sp.csr_matrix:
    """Who chose what, as `Interactions.pairs`, of each user the newest LONGEST_HISTORY interactions alone."""
    offsets = train.offsets()
    newest = offsets[1:][train.user] - np.arange(len(train)) <= LONGEST_HISTORY
    return (train if newest.all() else train.subset(newest)).pairs()


def top_of_rows(matrix: sp.csr_matrix, k: int) -> sp.csr_matrix:
    """The k largest entries of each row, all of which are positive; the lower column first among equals.

    Row, score and column fit into one integer where rows are few, and integers are sorted many times as fast as
    columns, one after the other.
    """
    import scipy.sparse as sp

    column_bits = max(int(matrix.shape[1] - 1).bit_length(), 1)
    if max(matrix.shape[0] - 1, 0).bit_length() + SCORE_BITS + column_bits > 64:
        raise ValueError(f"{matrix.shape[0]} rows of {matrix.shape[1]} columns do not fit; take fewer rows")
    lengths = np.diff(matrix.indptr)
    score = np.uint64((1 << SCORE_BITS) - 1) - matrix.data.astype(np.float32).view(np.uint32).astype(np.uint64)
    key = np.repeat(np.arange(len(lengths), dtype=np.uint64), lengths) << np.uint64(SCORE_BITS)
    key = ((key | score) << np.uint64(column_bits)) | matrix.indices.astype(np.uint64)
    key.sort()
    largest = np.arange(len(key)) - np.repeat(matrix.indptr[:-1], lengths) < k
    key = key[largest]
    column = key & np.uint64((1 << column_bits) - 1)
    score = ~(key >> np.uint64(column_bits)) & np.uint64((1 << SCORE_BITS) - 1)
    starts = np.concatenate([[0], np.cumsum(np.minimum(lengths, k))])
    top = sp.csr_matrix((score.astype(np.uint32).view(np.float32), column.astype(np.int32), starts), matrix.shape)
    top.sort_indices()
    return top


def top_of_product(
    left: sp.csr_matrix, right: sp.csr_matrix, k: int, adjust: Callable[[sp.csr_matrix, int], None], threads: int = 1
) -> sp.csr_matrix:
    """`top_of_rows` of the square product left @ right without its diagonal; its entries are positive.

    adjust: changes the entries of a block of rows in place, before they are compared; it is given its first row
    """
    import scipy.sparse as sp

    rows = min(BLOCK_ROWS, 1 << max(64 - SCORE_BITS - int(right.shape[1]).bit_length(), 0))

    def top(start: int) -> sp.csr_matrix:
        block = (left[start : start + rows] @ right).tocsr()
        row = np.repeat(np.arange(block.shape[0], dtype=np.int32), np.diff(block.indptr))
        block.data[block.indices == start + row] = 0
        block.eliminate_zeros()
        adjust(block, start)
        return top_of_rows(block, k)

    with ThreadPoolExecutor(threads) as pool:
        return sp.vstack(list(pool.map(top, range(0, left.shape[0], rows))), format="csr")
