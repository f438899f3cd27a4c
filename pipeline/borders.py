"""The border to kinds of anybody's making, such as a recommender of an installed package: what they raise, and give.

Medley's own are held to the same.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pipeline.errors import MedleyError, StepFailed

# Of a traceback, the innermost: a library may have raised what a kind called it for.
FRAMES = 4
UNIT = 1e-2  # how far a norm may be from 1, which float16 leaves it nearer than


@contextmanager
def border(what: str) -> Iterator[None]:
    """Around a call of `what`: an error that says nothing of Medley becomes StepFailed, with where it was raised."""
    try:
        yield
    except (MedleyError, MemoryError, OSError):
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
        place = " > ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
        cause = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise StepFailed(f"{what} failed ({cause}, at {place})") from error


def check_vectors(what: str, vectors: object, rows: int, width: int | None = None, unit: bool = False) -> None:
    """Raises StepFailed unless `what` gave (rows, width) finite numbers.

    width: any above 0 if None. unit: the rows must be of unit norm, or NaN where there is no vector.
    """
    matrix = np.asarray(vectors)
    shape = f"{rows} rows of {'some' if width is None else width} numbers"
    if matrix.ndim != 2 or len(matrix) != rows or matrix.shape[1] != (width or max(1, matrix.shape[1])):
        raise StepFailed(f"{what} gave shape {matrix.shape}; it must give {shape}")
    if matrix.dtype.kind not in "fiu":
        raise StepFailed(f"{what} gave {matrix.dtype}; it must give {shape}")
    present = matrix[~np.isnan(matrix).all(axis=1)] if unit else matrix
    faults = np.flatnonzero(~np.isfinite(present).all(axis=1))
    if len(faults):
        raise StepFailed(f"{what} gave {len(faults)} of {rows} rows that are not finite numbers throughout")
    norms = np.linalg.norm(present.astype(np.float32), axis=1) if unit else np.zeros(0)
    if len(norms) and np.abs(norms - 1).max() > UNIT:
        furthest = norms[np.abs(norms - 1).argmax()]
        raise StepFailed(f"{what} gave a vector of norm {furthest:.3g}; its vectors must be of unit norm")
