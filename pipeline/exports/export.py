"""An export from its beginning to its end: stage, compare what the place answers with what is published, switch."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from pipeline.artefacts.published import published
from pipeline.errors import ConfigError, ExportFailed
from pipeline.exports.base import DEPTH, EXPORTS, Export, ExportSettings, first_items
from pipeline.exports.contents import Contents
from pipeline.interactions import Floats
from pipeline.storage.documents import Json

log = logging.getLogger("medley")
# Of users that have a vector: so many are compared, fewer where a product with every item would take minutes.
USERS, PRODUCTS, FEWEST = 1_000, 3 * 10**8, 100
LEAST_ALIKE = 0.99
SEED = 0


def export(workspace: Path, settings: ExportSettings) -> Json:
    """Sends what is published to the place that the settings name; returns what was sent and how alike it answers.

    Raises ExportFailed if the place cannot be written, or answers otherwise than what is published: then nothing is
    switched to. Raises WorkspaceError where nothing is published.
    """
    contents = Contents(published(workspace))
    kind: type[Export] = EXPORTS.find(settings.kind)
    sent, begin = kind(settings, contents), time.perf_counter()
    staged = sent.stage()
    alike = compared(sent, contents)
    for what, share in alike.items():
        if share < LEAST_ALIKE:
            raise ExportFailed(
                f"export {settings.kind}: {what} of {share:.3f} of the compared users' first {DEPTH} are those of the "
                f"index, and {LEAST_ALIKE} must be; what was served before still is"
            )
    sent.switch()
    seconds = round(time.perf_counter() - begin, 2)
    return {"kind": settings.kind, "index": contents.digest, **staged, "alike": alike, "seconds": seconds}


def settings_of(kind: str, given: Mapping[str, object]) -> ExportSettings:
    """The settings of a kind. Raises ConfigError if there is no such kind or setting."""
    found: type[Export] = EXPORTS.find(kind)
    try:
        return found.Settings.model_validate({**given, "kind": kind})
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise ConfigError(f"export {kind}: {faults}") from None


def compared(sent: Export, contents: Contents) -> dict[str, float]:
    """The share of sampled users' first items that the place gives as the index does, of what it can be asked for."""
    users, vectors = sampled(contents)
    alike: dict[str, float] = {}
    answered = sent.lists(users["user_id"].to_pylist())
    if answered is not None:
        expected = first_items(contents.published.lists(users["user_id"].to_pylist()))
        alike["lists"] = _alike((items, answered.get(user, [])) for user, items in expected.items())
    nearest = sent.nearest(users, vectors)
    if nearest is not None:
        alike["vectors"] = _alike(zip(best(contents, users, vectors), nearest, strict=True))
    return alike


def sampled(contents: Contents) -> tuple[pa.Table, Floats]:
    """Some users that have a vector, the same of one index every time: `user_id` and `seen`, and (n, d) float32."""
    count = int(min(USERS, max(FEWEST, PRODUCTS // max(1, contents.n_items))))
    draws, kept = np.random.default_rng(SEED), np.zeros(0)
    tables: list[pa.Table] = []
    vectors = np.zeros((0, contents.width), np.float32)
    for block in contents.users():
        own = draws.random(len(block.table))
        kept, vectors = np.concatenate([kept, own]), np.concatenate([vectors, block.vectors])
        first = np.sort(np.argsort(kept, kind="stable")[:count])
        table = pa.concat_tables([*tables, block.table]).take(pa.array(first))
        tables, kept, vectors = [table], kept[first], vectors[first]
    return (tables[0] if tables else pa.table({"user_id": [], "seen": []})), vectors


def best(contents: Contents, users: pa.Table, vectors: Floats) -> list[list[str]]:
    """Each user's DEPTH items of the highest inner products, without those they have seen, by plain products."""
    seen = [set(ids or ()) for ids in users["seen"].to_pylist()]
    tops: list[list[tuple[float, str]]] = [[] for _ in seen]
    for block in contents.items():
        ids = block.table["item_id"].to_pylist()
        scores = vectors @ block.vectors.T
        for user, row in enumerate(scores):
            wanted = min(len(row), DEPTH + len(seen[user]))
            places = np.argpartition(-row, wanted - 1)[:wanted]
            fresh = [(float(row[place]), ids[place]) for place in places if ids[place] not in seen[user]]
            tops[user] = sorted([*tops[user], *fresh], key=lambda entry: -entry[0])[:DEPTH]
    return [[item for _, item in top] for top in tops]


def _alike(pairs: Iterable[tuple[Sequence[str], Sequence[str]]]) -> float:
    """The share of items of the first of each pair that are in the second too."""
    counts = [(len(set(expected) & set(answer)), len(expected)) for expected, answer in pairs]
    common, total = (sum(column) for column in zip(*counts, strict=True)) if counts else (0, 0)
    return round(common / total, 4) if total else 1.0
