"""Recommendations: for every user with a vector the one list of the night, as a table that needs no search.

`rank` counts from 1; `score` is the re-ranker's probability that the user chooses the item, or where it is not used the
inner product; the index's card says of what exactly. Users are written in blocks, so that memory does not grow with
their number.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.artefacts.published import list_schema
from pipeline.artefacts.write import writer
from pipeline.interactions import Floats, Int64s, Mask
from pipeline.rerank.snapshot import NOTHING


def write_lists(
    lists: Iterable[tuple[Int64s, Int64s, Floats]], users: pa.Array, items: pa.Array, count: int, path: Path
) -> tuple[int, Mask]:
    """Writes the first `count` of every list, by user and rank; returns the rows and who has a list, (n_users,) bool.

    lists: see `rerank.lists.lists_of`. users and items: ids by code.
    """
    served, rows, schema = np.zeros(len(users), bool), 0, list_schema()
    with writer(path, schema) as file:
        for block, codes, scores in lists:
            row, column = np.nonzero(codes[:, :count] != NOTHING)
            columns = [
                users.take(pa.array(block[row])),
                pa.array(column + 1, pa.int32()),
                items.take(pa.array(codes[row, column])),
                pa.array(scores[row, column], pa.float32()),
            ]
            file.write_table(pa.table(columns, schema=schema))
            served[block[row]] = True
            rows += len(row)
    return rows, served
