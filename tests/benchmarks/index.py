"""The index that a night plans beside faiss's usual ones and autofaiss's, asked by users, without what they have.

python -m tests.benchmarks.index [--items 1000000] [--width 128] [--threads 2] [--json]
python -m tests.benchmarks.index --workspace shop/workspace [--json]
python -m tests.benchmarks.index ... --kinds
python -m tests.benchmarks.index ... --autofaiss PYTHON
python -m tests.benchmarks.index --items 1e7 --width 64 --alone

The first makes items of clusters, with norms as popularity has them, and users of some tastes; the second takes what a
night published. A peer's knob is turned until its recall@10 is ours, as `index` judges it, or as near as it comes.
--kinds: beside others that this FAISS has: HNSW over vectors turned so that inner product is a distance, and, with as
many cells as ours, Panorama, and codes of 4 bits (PQ, RaBitQ) of which the best hundred or more are compared whole.
--autofaiss: an interpreter of an environment that has it, with faiss-cpu below 1.8 and pyarrow below 20; it is given
the memory of ours, and a twentieth more. --alone: without peers. `peak GB`: the most memory that planning took, items
and users among it.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from pipeline.config import Index as Settings
from pipeline.indexing.clusters import BLOCK_ROWS, Indexed
from pipeline.indexing.exact import Queries
from pipeline.indexing.judged import Design, Judge, Targets, Tried
from pipeline.indexing.planner import LEARNERS, planned
from pipeline.interactions import Floats
from pipeline.serving import Index
from tests.benchmarks.harness import machine

# autofaiss counts an index's bytes its own way: with as much as ours takes, it would compress.
MORE_MEMORY = 1.05
CENTRES, USER_COUNT, TASTES = 2000, 12_000, 4
# A knob is doubled up to here until the recall is reached, and then halved in between.
MOST, HALVINGS = 4096, 4
# Of codes, how many times the answers asked for are compared whole.
REFINED = 10
PEER = Path(__file__).with_name("index_peer.py")
Knob = Callable[[int], None]
# Name, index, what turns its knob, and the seconds that it took.
Peer = tuple[str, faiss.Index, Knob, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=lambda text: int(float(text)), default=1_000_000)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--workspace", type=Path)
    parser.add_argument("--autofaiss", help="an interpreter that has it")
    parser.add_argument("--kinds", action="store_true", help="beside FAISS's other kinds too")
    parser.add_argument("--alone", action="store_true", help="no peers")
    parser.add_argument("--latency", type=float, default=0.1, help="index.max_latency_ms: exact search is above it")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    faiss.omp_set_num_threads(asked.threads)
    items, users = of_night(asked.workspace) if asked.workspace else synthetic(asked.items, asked.width)
    document = {"items": list(items.shape), "users": len(users), "machine": machine()}
    rows, judge, limit = planned_alone(items, users, asked.latency)
    if not asked.alone:
        rows += beside(judge, rows[0], peers(items, limit, asked.autofaiss))
    if asked.kinds:
        rows += beside(judge, rows[0], kinds(items))
    document["ways"] = rows
    print(json.dumps(document) if asked.json else table(document))


def synthetic(n_items: int, width: int, n_users: int = USER_COUNT) -> tuple[Floats, Queries]:
    """Items around centres, and users elsewhere: each of some tastes, beside what all like."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((CENTRES, width), np.float32)
    items = centres[random.integers(0, CENTRES, n_items)]
    for block in np.array_split(items, max(1, n_items // BLOCK_ROWS)):
        block += np.float32(1.0) * random.standard_normal(block.shape, np.float32)
        block *= random.lognormal(0, 0.3, (len(block), 1)).astype(np.float32)
    users = np.empty((n_users, width), np.float32)
    for part in np.array_split(users, max(1, n_users // BLOCK_ROWS)):
        shares = random.dirichlet(np.ones(TASTES), len(part))
        tastes = np.einsum("uk,ukd->ud", shares, centres[random.integers(0, CENTRES, (len(part), TASTES))])
        part[:] = tastes + 0.3 * random.standard_normal(part.shape)
    users += (0.5 * random.standard_normal(width)).astype(np.float32)
    taken = [np.unique(random.integers(0, n_items, size)) for size in random.integers(1, 60, min(n_users, USER_COUNT))]
    return items, Queries(users, taken)


def of_night(workspace: Path) -> tuple[Floats, Queries]:
    """What a night has published, in a seeded order of users."""
    index = Index.open(workspace)
    plain = faiss.read_index(str(index.published.folder / "recommend.faiss"))
    if isinstance(plain, faiss.IndexIVF):
        plain.make_direct_map()
    names = index.published.users(columns=["user_id"])["user_id"].to_pylist()
    some = np.random.default_rng(0).permutation(len(names))[:USER_COUNT]
    vectors, seen = index.users([names[row] for row in some])
    return plain.reconstruct_batch(np.arange(plain.ntotal)), Queries(vectors, seen)


def planned_alone(items: Floats, users: Queries, latency: float) -> tuple[list[dict[str, Any]], Judge, int]:
    """Ours and what was tried for it, as rows of the table; what judges it; and how many bytes a peer may take."""
    every = Indexed(items, np.arange(len(items)))
    count = min(1000, len(users) // 2)
    targets = Targets(Settings(max_latency_ms=latency, queries=count))
    begin = time.perf_counter()
    learners = users.part(slice(count, count + LEARNERS))
    with tempfile.TemporaryDirectory() as folder:
        index, tried = planned(every, users.part(slice(count)), learners, targets, Path(folder) / "index.faiss")
        seconds = time.perf_counter() - begin
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        (ours,) = (one for one in tried if one.chosen)
        judge = Judge(every, users.part(slice(count // 2, count)), targets)
        row = told(judge.judged(index, ours.design)) | {"seconds": round(seconds, 1), "peak GB": round(peak, 2)}
    rows = [{"way": f"medley: {name_of(ours.design)}", **row}]
    rows += [{"way": f"  tried: {name_of(one.design)}", **told(one)} for one in tried if not one.chosen]
    print(json.dumps(rows), file=sys.stderr, flush=True)
    return rows, judge, int(MORE_MEMORY * ours.design.bytes_a_vector * len(items))


def name_of(design: Design) -> str:
    return f"{design.kind} {design.ranked_by}".strip()


def beside(judge: Judge, ours: dict[str, Any], others: Iterator[Peer]) -> list[dict[str, Any]]:
    """Each peer at ours's recall: rows of the table."""
    rows = []
    for name, other, knob, took in others:
        best = at_recall(judge, other, knob, ours["recall@10"], took)
        rows.append({"way": name, **best, "p99 of ours": round(best["p99 ms"] / ours["p99 ms"], 2)})
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    return rows


def peers(items: Floats, limit: int, autofaiss: str | None) -> Iterator[Peer]:
    """FAISS's usual ones, and autofaiss's of so many bytes."""
    width = items.shape[1]
    for name in ("HNSW32", f"IVF{int(np.sqrt(len(items)))},Flat"):
        begin = time.perf_counter()
        index = faiss.index_factory(width, name, faiss.METRIC_INNER_PRODUCT)
        index.train(items)
        index.add(items)
        yield name, index, knob_of(index), time.perf_counter() - begin
    if autofaiss:
        with tempfile.TemporaryDirectory() as folder:
            np.save(Path(folder) / "items.npy", items)
            begin = time.perf_counter()
            subprocess.run([autofaiss, str(PEER), folder, str(limit)], check=True, stdout=sys.stderr)
            index = faiss.read_index(str(Path(folder) / "index.faiss"))
            key = (Path(folder) / "key.txt").read_text()
            yield f"autofaiss: {key}", index, knob_of(index), time.perf_counter() - begin


def kinds(items: Floats) -> Iterator[Peer]:
    """What else this FAISS has."""
    width, cells = items.shape[1], int(4 * np.sqrt(len(items)))
    codes = [f"IVF{cells},{code},RFlat" for code in (f"PQ{width // 2}x4fs", "RaBitQfs4")]
    for name in (f"IVF{cells},FlatPanorama8", *codes):
        begin = time.perf_counter()
        index = faiss.index_factory(width, name, faiss.METRIC_INNER_PRODUCT)
        index.train(items)
        index.add(items)
        if name in codes:
            index.search = partial(refined, index)
        yield name, index, knob_of(index), time.perf_counter() - begin
    begin = time.perf_counter()
    yield "HNSW32, turned", *turned(items), time.perf_counter() - begin


def refined(index: faiss.IndexRefineFlat, queries: Floats, k: int, params: faiss.SearchParameters) -> Any:
    """A search of codes by parameters that are the cells' own."""
    how = faiss.IndexRefineSearchParameters(k_factor=REFINED, base_index_params=params)
    return faiss.IndexRefineFlat.search(index, queries, k, params=how)


def turned(items: Floats) -> tuple[faiss.Index, Knob]:
    """HNSW whose nearest are those of the largest product: a further number makes all items equally long.

    Bachrach et al. 2014, "Speeding Up the Xbox Recommender System Using a Euclidean Transformation for Inner-Product
    Spaces".
    """
    width = items.shape[1]
    squares = np.einsum("nd,nd->n", items, items)
    graph = faiss.IndexHNSWFlat(width + 1, 32)
    graph.add(np.column_stack([items, np.sqrt(squares.max() - squares)]))
    further = faiss.RemapDimensionsTransform(width, width + 1, False)
    return faiss.IndexPreTransform(further, graph), knob_of(graph)


def knob_of(index: faiss.Index) -> Knob:
    """Sets how much of the index is looked at."""
    space = faiss.ParameterSpace()
    name = "nprobe" if faiss.try_extract_index_ivf(index) else "efSearch"
    return lambda value: space.set_index_parameter(index, name, value)


def at_recall(judge: Judge, index: faiss.Index, knob: Knob, recall: float, seconds: float) -> dict[str, Any]:
    """The smallest knob that gives the recall, or else the largest."""
    size = faiss.serialize_index(index).nbytes / index.ntotal

    def tried(value: int) -> dict[str, Any]:
        knob(value)
        return told(judge.judged(index, Design("peer", 32, 0, size, round(seconds, 1), probes=value)))

    low, best = 0, tried(1)
    while best["recall@10"] < recall and best["knob"] < MOST:
        low, best = best["knob"], tried(2 * best["knob"])
    for _ in range(HALVINGS):
        middle = (low + best["knob"]) // 2
        if best["recall@10"] < recall or middle in (low, best["knob"]):
            break
        row = tried(middle)
        low, best = (low, row) if row["recall@10"] >= recall else (middle, best)
    return best


def told(tried: Tried) -> dict[str, Any]:
    """A row of the table."""
    return {
        "knob": tried.design.probes,
        "recall@10": tried.recall["10"]["mean"],
        "recall@100": tried.recall["100"]["mean"],
        **{f"{name} ms": value for name, value in tried.latency_ms.items()},
        "queries/s": tried.queries_per_second,
        "bytes/vector": round(tried.design.bytes_a_vector, 1),
        "seconds": tried.design.seconds,
    }


def table(document: dict[str, Any]) -> str:
    lines = [f"{document['items']} items, {document['users']} users, {document['machine']}"]
    names = list(dict.fromkeys(name for way in document["ways"] for name in way))
    lines += ["  ".join(f"{way.get(name, '')!s:>{max(len(name), 9)}}" for name in names) for way in document["ways"]]
    return "\n".join([lines[0], "  ".join(f"{name:>{max(len(name), 9)}}" for name in names), *lines[1:]])


if __name__ == "__main__":
    main()
