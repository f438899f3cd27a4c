"""Running an encoder over many rows: decoded in threads, one window ahead of the network, and encoded in batches."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from pipeline.artefacts.shards import Result
from pipeline.encoders.base import Encoder, Input
from pipeline.encoders.inputs import Failure, Inputs, Row


def encode(encoder: Encoder, inputs: Inputs, rows: list[Row], threads: int) -> dict[bytes, Result]:
    """The vectors of rows that have content, or the reasons why there is none, by content hash.

    encoder: that of the inputs, its weights loaded. Memory is bounded by two of its windows.
    """
    results: dict[bytes, Result] = {}
    windows = [rows[start : start + encoder.window] for start in range(0, len(rows), encoder.window)]
    with ThreadPoolExecutor(threads) as pool:
        pending: list[Future[Input | Failure]] = [pool.submit(inputs.decode, row) for row in windows[0]]
        for number, window in enumerate(windows):
            decoded = [future.result() for future in pending]
            if number + 1 < len(windows):
                pending = [pool.submit(inputs.decode, row) for row in windows[number + 1]]
            hashes = [row.content_hash or b"" for row in window]
            results |= _embed(encoder, dict(zip(hashes, decoded, strict=True)))
    return results


def _embed(encoder: Encoder, decoded: Mapping[bytes, Input | Failure]) -> dict[bytes, Result]:
    failures = {key: value for key, value in decoded.items() if isinstance(value, Failure)}
    results = {key: Result(None, failure.reason, failure.transient) for key, failure in failures.items()}
    parts = {key: value for key, value in decoded.items() if not isinstance(value, Failure)}
    if parts:
        vectors = encoder.embed(list(parts.values()))
        results |= {key: _normalised(vector) for key, vector in zip(parts, vectors, strict=True)}
    return results


def _normalised(vector: np.ndarray) -> Result:
    norm = float(np.linalg.norm(vector))
    if not np.isfinite(norm):
        return Result(None, "the vector is not finite")
    if norm == 0:
        return Result(None, "the vector is zero")
    return Result((vector / norm).astype(np.float16), None)
