"""Item-to-item models: a user's score for an item is the sum of what the history's items say of it, s = x W.

x is a user's row of the log. W is no product of vectors, so none of them can be indexed; they stand beside the model
that is trained, as they take seconds and are hard to beat. An item that nobody chose is never recommended.

W is the largest entries of a sparse product, block by block, so that the whole product is never held.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from pipeline.evaluation.metrics import Scorer
from pipeline.interactions import Interactions
from pipeline.recommend.grid_searched import Searched

if TYPE_CHECKING:
    import scipy.sparse as sp

BLOCK_ROWS = 1024


class ItemToItem(Searched["sp.csr_matrix"]):
    """A model that is a sparse matrix W, (n_items, n_items)."""

    vectors = False
    seeded = False

    def scorer_of(self, state: sp.csr_matrix, history: Interactions) -> Scorer:
        """Scores are x W, float32."""
        rows = history.matrix()
        return lambda users: (rows[users] @ state).toarray()


def top_of_rows(matrix: sp.csr_matrix, k: int) -> sp.csr_matrix:
    """The k largest entries of each row, the lower column first among equals, columns sorted."""
    import scipy.sparse as sp

    lengths = np.diff(matrix.indptr)
    row = np.repeat(np.arange(len(lengths)), lengths)
    order = np.lexsort((matrix.indices, -matrix.data, row))
    entries = order[np.arange(len(order)) - matrix.indptr[row] < k]
    top = sp.csr_matrix((matrix.data[entries], (row[entries], matrix.indices[entries])), shape=matrix.shape)
    top.sort_indices()
    return top


def top_of_product(
    left: sp.csr_matrix, right: sp.csr_matrix, k: int, adjust: Callable[[sp.csr_matrix, int], None]
) -> sp.csr_matrix:
    """`top_of_rows` of the square product left @ right without its diagonal.

    adjust: changes the entries of a block of rows in place, before they are compared; it is given its first row
    """
    import scipy.sparse as sp

    blocks = []
    for start in range(0, left.shape[0], BLOCK_ROWS):
        block = (left[start : start + BLOCK_ROWS] @ right).tocsr()
        row = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
        block.data[block.indices == start + row] = 0
        block.eliminate_zeros()
        adjust(block, start)
        blocks.append(top_of_rows(block, k))
    return sp.vstack(blocks, format="csr")
