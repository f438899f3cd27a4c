"""The largest entries of each row of a sparse product, block by block, so that the whole product is never held."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp

BLOCK_ROWS = 1024


def top_of_rows(matrix: sp.csr_matrix, k: int) -> sp.csr_matrix:
    """The k largest entries of each row, the lower column first among equals, columns sorted."""
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
    blocks = []
    for start in range(0, left.shape[0], BLOCK_ROWS):
        block = (left[start : start + BLOCK_ROWS] @ right).tocsr()
        row = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
        block.data[block.indices == start + row] = 0
        block.eliminate_zeros()
        adjust(block, start)
        blocks.append(top_of_rows(block, k))
    return sp.vstack(blocks, format="csr")
