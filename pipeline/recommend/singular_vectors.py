"""The largest singular vectors of a sparse matrix, on the side of its columns, in memory whatever its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from pipeline.interactions import Floats, Int64s

if TYPE_CHECKING:
    import scipy.sparse as sp

Result = TypeVar("Result")
Doubles = npt.NDArray[np.float64]
# Rows of the matrix, and of a table of its columns, at a time.
BLOCK_ROWS = 32_768
# Columns of that table at a time, of which each thread has a sum of its own.
DIRECTIONS = 64
# Directions beyond those wanted, and passes, that the last of them need to be found; begun at those of almost the same
# matrix, fewer are closer to its own than all of those.
OVERSAMPLING, PASSES, PASSES_AGAIN = 10, 5, 2
# Of those wanted, so many more for columns that are new.
NEW_DIRECTIONS = 0.25
SMALLEST = 1e-10


def singular_vectors(
    matrix: sp.csr_matrix, width: int, seed: int, threads: int, begin: Callable[[], Floats | None] = lambda: None
) -> tuple[Floats, Floats]:
    """The `width` largest singular values σ, and their right singular vectors q.

    Subspace iteration on AᵀA, from a random start (Halko et al. 2011) or a given one; its memory is that of q, twice.

    matrix: (rows, columns) float32. begin: reads (columns, width) float32, q of almost the same matrix, to begin at
    instead, or None. Returns q (columns, width) float32 of orthonormal columns, zero ones where the rank is smaller,
    and σ (width,) float32, the largest first.
    """
    columns = matrix.shape[1]
    generator = np.random.default_rng(seed)
    q, passes = generator.standard_normal((columns, min(width + OVERSAMPLING, columns)), np.float32), PASSES
    if (earlier := begin()) is not None:
        new = np.flatnonzero((matrix.getnnz(axis=0) > 0) & ~earlier.any(axis=1))
        q, passes = _continued(earlier, q, new, generator), PASSES_AGAIN
    del earlier
    blocks = [matrix[start : start + BLOCK_ROWS] for start in range(0, matrix.shape[0], BLOCK_ROWS)]
    # Threads of a library's own would wait for each other at every product.
    with threadpool_limits(1), ThreadPoolExecutor(threads) as pool:
        iteration = _Iteration(blocks, pool, threads)
        for _ in range(passes):
            q, values = iteration.orthonormal(iteration.squared(q))
    return np.ascontiguousarray(q[:, :width]), np.sqrt(values[:width]).astype(np.float32)


def _continued(earlier: Floats, q: Floats, new: Int64s, generator: np.random.Generator) -> Floats:
    """The earlier directions in place of random ones, and random ones of the new columns, which those say nothing of.

    Without the latter, columns that go together only with each other would be found no sooner than by chance.
    """
    there = np.flatnonzero(earlier.any(axis=0))
    own = min(len(new), round(earlier.shape[1] * NEW_DIRECTIONS), len(q) - q.shape[1])
    begun = np.zeros((len(q), q.shape[1] + own), np.float32)
    begun[:, : q.shape[1]] = q / np.float32(np.sqrt(len(q)))
    begun[:, there] = earlier[:, there]
    begun[new, q.shape[1] :] = generator.standard_normal((len(new), own), np.float32) / np.sqrt(max(len(new), 1))
    return begun


@dataclass(frozen=True)
class _Iteration:
    """blocks: of the matrix A, by rows. The sums are the same for the same number of threads."""

    blocks: list[sp.csr_matrix]
    pool: ThreadPoolExecutor
    threads: int

    def squared(self, q: Floats) -> Floats:
        """AᵀA q."""
        squared = np.empty_like(q)
        for start in range(0, q.shape[1], DIRECTIONS):
            some = np.ascontiguousarray(q[:, start : start + DIRECTIONS])

            def part(first: int, some: Floats = some) -> Floats:
                total = np.zeros_like(some)
                for block in self.blocks[first :: self.threads]:
                    total += block.T @ (block @ some)
                return total

            squared[:, start : start + DIRECTIONS] = _sum(
                self.pool.map(part, range(min(self.threads, len(self.blocks))))
            )
        return squared

    def orthonormal(self, y: Floats) -> tuple[Floats, Doubles]:
        """y's left singular vectors, in its place, zero where its rank ends, and its values, the largest first."""
        squares, turn = np.linalg.eigh(_sum(self._of_blocks(y, lambda rows: (rows.T @ rows).astype(np.float64))))
        squares, turn = squares[::-1], turn[:, ::-1]
        there = squares > SMALLEST * squares[0]
        values = np.sqrt(np.where(there, squares, 0))
        turn = (turn * np.divide(1, values, where=there, out=np.zeros_like(values))).astype(np.float32)
        list(self._of_blocks(y, lambda rows: np.copyto(rows, rows @ turn)))
        return y, values

    def _of_blocks(self, table: Floats, work: Callable[[Floats], Result]) -> Iterator[Result]:
        return self.pool.map(work, np.split(table, range(BLOCK_ROWS, len(table), BLOCK_ROWS)))


def _sum(parts: Iterable[npt.NDArray[np.floating]]) -> npt.NDArray[np.floating]:
    parts = iter(parts)
    total = next(parts)
    for part in parts:
        total += part
    return total
