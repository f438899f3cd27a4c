"""Batches of what is padded to the longest of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from pipeline.interactions import Int64s


def padded_batches(sizes: Int64s, places: int) -> Iterator[Int64s]:
    """Sequences of like length together, so that little is padding and a batch's memory is bounded.

    sizes: (n,) int64, how long each sequence is; one of length 0 is in no batch. places: what a batch may fill once all
    of it is padded to its longest, unless that is alone. Yields (b,) int64, rows of `sizes`, the shortest first; those
    of one length stay in their order.
    """
    order = np.argsort(sizes, kind="stable")
    order = order[sizes[order] > 0]
    return (order[run.start : run.stop] for run in padded_runs(sizes[order].tolist(), places))


def padded_runs(sizes: Sequence[int], places: int) -> Iterator[range]:
    """Cuts ascending sizes into runs, one after another, none of which fills more than `places` once it is padded.

    A run's length times its largest size stays within `places`; a size above that has a run of its own.
    """
    start = 0
    for stop in range(1, len(sizes) + 1):
        if stop == len(sizes) or (stop + 1 - start) * sizes[stop] > places:
            yield range(start, stop)
            start = stop
