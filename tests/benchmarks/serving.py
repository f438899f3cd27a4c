"""The published index as a class beside plain faiss, on synthetic vectors, and histories beside a night's own users.

python -m tests.benchmarks.serving [--items 1000000] [--users 1000000] [--json]
python -m tests.benchmarks.serving --workspace shop/workspace [--json]

The first writes an index folder by the functions of `index`; the second reads a published night's, and asks for up to
1,000 of its users by their histories.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa

from pipeline.artefacts.published import (
    CONTENT,
    ITEMS,
    LISTS,
    RECOMMEND,
    USERS,
    WITHOUT_LIST,
    published,
)
from pipeline.artefacts.staged import Staged
from pipeline.artefacts.vectors import matrix, write_groups
from pipeline.artefacts.verified import write_blocks
from pipeline.artefacts.write import write_table
from pipeline.config import Index as Settings
from pipeline.indexing.clusters import Indexed
from pipeline.indexing.exact import Queries
from pipeline.indexing.judged import Targets
from pipeline.indexing.planner import planned
from pipeline.interactions import Floats, Interactions
from pipeline.recommend.user_networks import BESIDE
from pipeline.serving import Choice, Index
from pipeline.serving.recommendations import write_lists
from pipeline.steps.index_users import write_users
from pipeline.workspace import CARD
from tests.benchmarks.harness import machine
from tests.benchmarks.index import synthetic
from tests.receipts import write_receipt

WIDTH, CHOSEN, LISTED, ROUNDS, QUERIES, SINGLE = 64, 10, 20, 7, 512, 400
FILTERS: dict[str, dict[str, Any]] = {
    "half": {"in_stock": True},
    "a tenth": {"price": (None, 10)},
    "2 %": {"price": (10, 12)},
    "1 in 1,000": {"price": (50, 50.1)},
    "1 in 100,000": {"price": (70, 70.001)},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--workspace", type=Path)
    parser.add_argument("--keep", type=Path, help="a folder to write into, and to read again where it is there already")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if asked.workspace:
        document = folded(asked.workspace)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            document = measured(workspace_of(asked.keep or Path(scratch), asked.items, asked.users))
    document["machine"] = machine()
    print(json.dumps(document) if asked.json else "\n".join(f"{k:<52} {v}" for k, v in document.items()))


def workspace_of(workspace: Path, n_items: int, n_users: int) -> Path:
    """Publishes items around centres and users elsewhere, of CHOSEN items each."""
    folder = workspace / "index" / "synthetic"
    if folder.exists():
        return workspace
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    items, queries = synthetic(n_items, WIDTH, n_users)
    users = queries.vectors
    ids = pa.array([f"item-{row:07d}" for row in random.permutation(n_items)])
    names = pa.array([f"user-{row:07d}" for row in range(n_users)])
    print("index", file=sys.stderr, flush=True)
    parts = users[:: max(1, n_users // 1000)], users[1 :: max(1, n_users // 10_000)]
    asking, learners = (Queries(part, [np.zeros(0, np.int64)] * len(part)) for part in parts)
    targets = Targets(Settings())
    _, tried = planned(Indexed(items, np.arange(n_items)), asking, learners, targets, folder / RECOMMEND)
    shutil.copyfile(folder / RECOMMEND, folder / CONTENT)
    print("tables", file=sys.stderr, flush=True)
    write_groups(folder / ITEMS, attributes(ids, random))
    user, item = np.repeat(np.arange(n_users, dtype=np.int32), CHOSEN), random.integers(0, n_items, n_users * CHOSEN)
    log = Interactions(
        user, item.astype(np.int32), np.zeros(len(user)), np.ones(len(user), np.float32), n_users, n_items
    )
    write_users(names, ids, log, users, folder / USERS)
    blocks = (np.arange(start, min(start + 1024, n_users)) for start in range(0, n_users, 1024))
    lists = (
        (rows, random.integers(0, n_items, (len(rows), LISTED)), np.ones((len(rows), LISTED), np.float32))
        for rows in blocks
    )
    write_lists(lists, names, ids, LISTED, folder / LISTS)
    write_table(
        pa.table({"user_id": pa.array([], pa.string()), "reason": pa.array([], pa.string())}), folder / WITHOUT_LIST
    )
    write_blocks(folder, (ITEMS, USERS, LISTS, WITHOUT_LIST))
    card = {"model": "als", "lineage": {}, "encoders": {}, "recommended": {"k": LISTED}, "not_folded_in": ["als"]}
    (folder / CARD).write_text(json.dumps(card | {"tried": [one.written() for one in tried]}))
    write_receipt(folder)
    document = {"index": "index/synthetic", "digest": "synthetic", "run_id": "1"}
    times = dict.fromkeys(("as_of", "published_at"), "2026-01-01T00:00:00Z")
    (workspace / "CURRENT.json").write_text(json.dumps(document | times))
    return workspace


def attributes(ids: pa.Array, random: np.random.Generator) -> Iterator[pa.Table]:
    for start in range(0, len(ids), 16_384):
        block = ids[start : start + 16_384]
        titles = pa.array([f"A title of some length, number {place}" for place in range(start, start + len(block))])
        price, stock = random.uniform(0, 100, len(block)), random.random(len(block)) < 0.5
        columns = {"item_id": block, "title": titles, "price": price, "in_stock": stock}
        yield pa.table(columns | {"has_content": pa.array([True] * len(block))})


def measured(workspace: Path) -> dict[str, Any]:
    """Rates beside plain faiss, single queries within filters, and what opening and a lookup take."""
    cold = seconds(lambda: Index.open(workspace))
    warm = min(seconds(lambda: Index.open(workspace)) for _ in range(3))
    index = Index.open(workspace)
    folder = index.published.folder
    names = index.published.users(["user_id"])["user_id"].combine_chunks()
    some = names[:: max(1, len(names) // QUERIES)].to_pylist()[:QUERIES]
    vectors, seen = index.users(some)
    document: dict[str, Any] = {
        "items": len(index.published.table(ITEMS)),
        "users": len(names),
        "index": next(one for one in json.loads((folder / CARD).read_text())["tried"] if one["chosen"]),
        "bytes of the folder": sum(path.stat().st_size for path in folder.iterdir()),
        "opening, every file hashed, s": round(cold, 3),
        "opening again in the process, s": round(warm, 3),
    }
    document |= rates(folder, index, vectors, seen)
    for name, wanted in FILTERS.items():
        index.nearest(vectors[:1], 10, filter=wanted)
        document[f"one vector within {name}, p50 and p99, ms"] = percentiles(
            partial(index.nearest, vectors[[at % QUERIES]], 10, filter=wanted) for at in range(SINGLE)
        )
        document[f"recall@10 within {name}"] = recall(folder, index, vectors[:50], wanted)
        document[f"recommend(user) within {name}, p50 and p99, ms"] = percentiles(
            partial(index.recommend, some[at % QUERIES], filter=wanted) for at in range(200)
        )
    lists = (partial(index.recommend, user) for user in some)
    document["recommend(user) from the list, p50 and p99, ms"] = percentiles(lists)
    ids = index.nearest(vectors, 1).item_ids()
    index.similar(ids[0][0])
    document["similar(item), p50 and p99, ms"] = percentiles(partial(index.similar, item) for (item,) in ids)
    document["lookup --user, CPU s"] = round(statistics.median(lookup_cpu(workspace, some[at]) for at in range(3)), 2)
    document["peak memory, bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return document


def rates(folder: Path, index: Index, vectors: Floats, seen: list[Any]) -> dict[str, Any]:
    """Queries a second, in turn: ours in a batch, with ids, beside faiss from memory, which gives rows."""
    plain = faiss.read_index(str(folder / RECOMMEND))
    ways: dict[str, Callable[[], object]] = {
        "faiss": lambda: plain.search(vectors, 10),
        "nearest": lambda: index.nearest(vectors, 10).item_ids(),
        "without what users have": lambda: index.nearest(vectors, 10, exclude=seen).item_ids(),
    }
    for way in ways.values():
        way()
    rounds = [{name: seconds(way) for name, way in ways.items()} for _ in range(ROUNDS)]
    document: dict[str, Any] = {
        f"{name}, queries a second": round(len(vectors) / statistics.median(one[name] for one in rounds))
        for name in ways
    }
    for name in list(ways)[1:]:
        ratio = statistics.median(one["faiss"] / one[name] for one in rounds)
        document[f"{name}, of faiss's rate"] = round(ratio, 3)
    return document


def recall(folder: Path, index: Index, vectors: Floats, wanted: dict[str, Any]) -> float:
    """Of the exact ten best that pass, by a product with all of them."""
    mask = np.unpackbits(index._opened._filters.passing(wanted).bits, bitorder="little").astype(bool)
    rows = np.flatnonzero(mask[: len(index._opened.items)])
    if not len(rows):
        return 1.0
    plain = faiss.read_index(str(folder / RECOMMEND))
    if isinstance(plain, faiss.IndexIVF):
        plain.make_direct_map()
    scores = vectors @ plain.reconstruct_batch(rows).T
    k = min(10, len(rows))
    best = rows[np.argpartition(-scores, k - 1, axis=1)[:, :k]]
    answers = index.nearest(vectors, k, filter=wanted).rows
    return round(float(np.mean([np.isin(own, answer).mean() for own, answer in zip(best, answers, strict=True)])), 4)


def lookup_cpu(workspace: Path, user: str) -> float:
    """Processor seconds of one call of the command line."""
    before = os.times()
    command = [sys.executable, "-m", "pipeline.cli", "lookup", "-w", str(workspace), "--user", user]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def folded(workspace: Path, most: int = 1000) -> dict[str, Any]:
    """The largest difference between users made of their histories and the night's own, over most users."""
    index = published(workspace)
    staged = Staged(workspace / str(index.card["lineage"]["ingest"]))
    log, items = staged.read_everything(), staged.items(["item_id"])["item_id"].to_pylist()
    codes = {user: code for code, user in enumerate(staged.user_ids().to_pylist())}
    table = index.users(["user_id", "vector"])
    vectors, names = matrix(table["vector"]), table["user_id"].to_pylist()
    opened, offsets, differences, histories = Index.open(workspace)._opened, log.offsets(), [], []
    for row, user in enumerate(names):
        first, stop = offsets[[codes[user], codes[user] + 1]]
        if first == stop or len(histories) == most:
            continue
        columns = log.item[first:stop].tolist(), log.weight[first:stop].tolist(), log.age_days[first:stop].tolist()
        history = [Choice(items[item], weight, age) for item, weight, age in zip(*columns, strict=True)]
        vector, _ = opened.user_of(user, history)
        histories.append(history)
        differences.append(float(np.abs(vector - vectors[row]).max()))
    return {
        "model": index.card["model"],
        "members": sorted(
            path.name for path in index.folder.glob("fold_in/*") if path.is_dir() and path.name != BESIDE
        ),
        "users": len(histories),
        "largest difference of a number": max(differences),
        "largest number": float(np.abs(vectors).max()),
        "a user of a history, p50 and p99, ms": percentiles(partial(opened.user_of, None, own) for own in histories),
    }


def seconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def percentiles(calls: Iterable[Callable[[], object]]) -> list[float]:
    """The median and the 99th percentile of calls one after the other, in milliseconds."""
    return [round(float(value) * 1000, 2) for value in np.percentile([seconds(call) for call in calls], [50, 99])]


if __name__ == "__main__":
    main()
