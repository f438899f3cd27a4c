"""A whole night as the catalogue grows: `medley run` on synthetic sources, step by step, then the next night.

    python -m tests.benchmarks.night_scale [--json] [--sizes 1e4:2e4:2e5,1e5:1e5:2e6] [--model svd] [--folder DIR]
                                           [--set key=value ...] [--no-peer] [--kill]

A size is items:users:choices. Items have a text vector (128) and an image vector (256) around the centre of one of 200
clusters, of which a user likes three; within a cluster they are chosen by a Zipf law, over two years. Written as
Parquet, and read as any company's tables are. The next night has another vector for 1 % of the items and 1 % of choices
more. Seconds are the wall's, of one night, as its receipts tell them. Slopes are of log seconds by log items, between
neighbouring sizes, of steps that take a second at least.

`by hand` is what a user would pick instead, in a process of its own: implicit's ALS on the same training part, a
faiss IVF built over its items, and twenty items for every user. The night fits ALS too, as a baseline: its NDCG stands
beside the model's, of the same users.

With `--kill`, the first night is also run in an empty workspace and killed by SIGKILL once in every step, in the middle
of it, and gone on with each time: what it leaves is compared with what the undisturbed night left, file by file.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.interactions import unit_rows
from tests.benchmarks.harness import ROOT, machine

WIDTHS = {"text": 128, "image": 256}
CLUSTERS, LIKED, OWN_SHARE, DAYS = 200, 3, 0.8, 730
BLOCK = 100_000
STEPS = ("ingest", "extract", "fuse", "train", "rerank", "evaluate", "index", "publish")
AS_OF, NEXT_AS_OF = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
CONFIG = """\
name: Night of {items:,} items
source:
  params: {{root: .}}
  items: >-
    select item_id, title, item_id as text, item_id as image from read_parquet(getvariable('root') || '/items.parquet')
  interactions: select user_id, item_id, ts from read_parquet(getvariable('root') || '/log*.parquet')
extract:
  text: {{encoder: array, file: text.parquet}}
  image: {{encoder: array, file: image.parquet}}
  audio: null
train: {{model: {model}}}
"""


class Source:
    """A synthetic company of a size, drawn by a seed."""

    def __init__(self, folder: Path, items: int, users: int, choices: int) -> None:
        self.folder, self.items, self.users, self.choices = folder, items, users, choices
        generator = np.random.default_rng(0)
        share = 1 / np.arange(1, CLUSTERS + 1) ** 0.5
        self.cluster = np.sort(generator.choice(CLUSTERS, items, p=share / share.sum()))
        self.ids = np.char.add("i", np.char.zfill(generator.permutation(items).astype(str), 8))
        first = np.searchsorted(self.cluster, self.cluster)
        popularity = 1 / (1 + np.arange(items) - first) ** 0.8
        self.cumulated = np.concatenate([[0], np.cumsum(popularity)])
        self.bounds = np.searchsorted(self.cluster, np.arange(CLUSTERS + 1))

    def write(self, model: str) -> None:
        """Writes the source of the first night, and its medley.yaml."""
        self.folder.mkdir(parents=True)
        pq.write_table(pa.table({"item_id": self.ids, "title": self.ids}), self.folder / "items.parquet")
        self.write_vectors(changed=0)
        self.write_log("log.parquet", self.choices, "2024-01-01", DAYS, seed=1)
        text = CONFIG.format(items=self.items, model=model)
        (self.folder / "medley.yaml").write_text(text, "utf-8")

    def change(self) -> None:
        """One in a hundred items has other vectors, and a day brings one in a hundred choices more."""
        self.write_vectors(changed=self.items // 100)
        self.write_log("log-next.parquet", self.choices // 100, "2026-01-01", 1, seed=2)

    def write_vectors(self, changed: int) -> None:
        for modality, width in WIDTHS.items():
            generator, others = np.random.default_rng(width), np.random.default_rng(width + 1)
            centres = generator.standard_normal((CLUSTERS, width), np.float32)
            values = pa.list_(pa.float32(), width)
            schema = pa.schema({"item_id": pa.string(), "vector": values})
            with pq.ParquetWriter(self.folder / f"{modality}.parquet", schema) as writer:
                for start in range(0, self.items, BLOCK):
                    rows = slice(start, min(start + BLOCK, self.items))
                    noise = generator.standard_normal((rows.stop - start, width), np.float32)
                    fresh = min(max(changed - start, 0), rows.stop - start)
                    noise[:fresh] = others.standard_normal((fresh, width), np.float32)
                    vectors = unit_rows(centres[self.cluster[rows]] + noise)
                    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), type=values)
                    writer.write_table(pa.table([pa.array(self.ids[rows]), column], schema))

    def write_log(self, name: str, choices: int, since: str, days: int, seed: int) -> None:
        """Users' activity is skewed too; a user's clusters are drawn by their number, so that both logs agree."""
        generator = np.random.default_rng(seed)
        liked = np.random.default_rng(7).integers(0, CLUSTERS, (self.users, LIKED))
        activity = np.random.default_rng(8).pareto(1.5, self.users) + 0.3
        cumulated = np.cumsum(activity) / activity.sum()
        begin = np.datetime64(since, "us").astype(np.int64)
        schema = pa.schema({"user_id": pa.string(), "item_id": pa.string(), "ts": pa.timestamp("us")})
        with pq.ParquetWriter(self.folder / name, schema) as writer:
            for start in range(0, choices, 10 * BLOCK):
                count = min(10 * BLOCK, choices - start)
                user = np.minimum(np.searchsorted(cumulated, generator.random(count)), self.users - 1)
                cluster = liked[user, generator.integers(0, LIKED, count)]
                anywhere = generator.random(count) > OWN_SHARE
                cluster[anywhere] = generator.integers(0, CLUSTERS, int(anywhere.sum()))
                low, high = self.cumulated[self.bounds[cluster]], self.cumulated[self.bounds[cluster + 1]]
                place = np.searchsorted(self.cumulated, low + generator.random(count) * (high - low), side="right")
                ts = begin + (generator.random(count) * days * 86_400e6).astype(np.int64)
                columns = [
                    pa.array(np.char.add("u", np.char.zfill(user.astype(str), 8))),
                    pa.array(self.ids[np.minimum(place - 1, self.items - 1)]),
                    pa.array(ts).cast(pa.timestamp("us")),
                ]
                writer.write_table(pa.table(columns, schema))


def begun(folder: Path, run_id: str, as_of: str, settings: list[str], workspace: str) -> subprocess.Popen[bytes]:
    """A `medley run` that has begun."""
    own = [part for setting in [f"workspace={folder / workspace}", *settings] for part in ("-s", setting)]
    command = [sys.executable, "-m", "pipeline.cli", "run", "-q", "-c", str(folder / "medley.yaml"), *own]
    command += ["--as-of", as_of, "--run-id", run_id]
    return subprocess.Popen(command, cwd=ROOT, stdout=sys.stderr, start_new_session=True)


def night(folder: Path, run_id: str, as_of: str, settings: list[str], workspace: str = "workspace") -> dict[str, Any]:
    """One `medley run`: the wall's seconds, and of each step its seconds and peak memory."""
    begin = time.perf_counter()
    exit_status = begun(folder, run_id, as_of, settings, workspace).wait()
    seconds = time.perf_counter() - begin
    steps = json.loads((folder / f"{workspace}/runs/{run_id}/manifest.json").read_text())["steps"]
    measured = {
        name: {"seconds": round(step["seconds"], 2), "peak_rss_bytes": step.get("peak_rss_bytes", 0)}
        for name, step in steps.items()
    }
    return {"night": run_id, "exit_status": exit_status, "seconds": round(seconds, 1), "steps": measured}


def killed(folder: Path, first: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    """The first night in an empty workspace, killed once in every step. first: the undisturbed one, as measured."""
    workspace = "workspace-killed"
    run, whole = (folder / name / "runs/first" for name in (workspace, "workspace"))
    seconds = {step: 0.0 for step in STEPS}
    for name, measured in first["steps"].items():
        seconds[name.partition(".")[0]] += measured["seconds"]
    before: set[str] = set()
    kills: dict[str, float] = {}

    def receipts(of: Path) -> set[str]:
        return {path.name for path in of.glob("steps/*.json")}

    for step in STEPS:
        own = {name for name in receipts(whole) if name.partition(".")[0] == step}
        process = begun(folder, "first", AS_OF, settings, workspace)
        while process.poll() is None and not ((run / "run.json").exists() and before <= receipts(run)):
            time.sleep(0.02)
        time.sleep(seconds[step] / 2)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        if process.wait() == -signal.SIGKILL and before <= receipts(run) and not own <= receipts(run):
            kills[step] = round(seconds[step] / 2, 1)
        before = own
    last = night(folder, "first", AS_OF, settings, workspace)
    documents = [json.loads((path / "manifest.json").read_text()) for path in (run, whole)]
    differing = [
        name
        for name in sorted({*documents[0]["artefacts"], *documents[1]["artefacts"]})
        if documents[0]["artefacts"].get(name) != documents[1]["artefacts"].get(name)
    ]
    files = len(documents[1]["artefacts"])
    return {"exit_status": last["exit_status"], "killed_after_seconds": kills, "files": files, "differing": differing}


def verb(folder: Path, *arguments: str) -> dict[str, float]:
    """A verb's seconds of processor and peak memory, in a process of its own."""
    command = [sys.executable, "-m", "pipeline.cli", *arguments, "-w", str(folder / "workspace")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, _, usage = os.wait4(process.pid, 0)
    return {"cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2), "peak_rss_bytes": usage.ru_maxrss * 1024}


def bytes_on_disk(workspace: Path) -> dict[str, int]:
    """Of each folder of a workspace."""
    sizes: dict[str, int] = {}
    for path in workspace.rglob("*"):
        if path.is_file():
            name = path.relative_to(workspace).parts[0]
            sizes[name] = sizes.get(name, 0) + path.stat().st_size
    return sizes


def quality(folder: Path, run_id: str) -> dict[str, Any]:
    """NDCG@10 of every model on the test part, and its users."""
    metrics = json.loads((folder / f"workspace/runs/{run_id}/metrics.json").read_text())
    models = {name: entry["ndcg@10"] for name, entry in metrics["test"]["all"].items() if "ndcg@10" in entry}
    return {name: {key: round(entry[key], 4) for key in ("mean", "users")} for name, entry in models.items()}


def by_hand(folder: Path, run_id: str) -> dict[str, Any]:
    """ALS, an IVF index and twenty items for all, as one writes it in an afternoon."""
    import faiss
    import scipy.sparse as sp
    from implicit.cpu.als import AlternatingLeastSquares

    manifest = json.loads((folder / f"workspace/runs/{run_id}/manifest.json").read_text())
    snapshot = folder / "workspace/staged" / manifest["steps"]["ingest"]["digest"]
    begin = time.perf_counter()
    table = pq.read_table(snapshot / "interactions.parquet", columns=["user_id", "item_id", "part"])
    parts = table["part"].to_numpy()
    users, items = (table[name].combine_chunks().dictionary_encode() for name in ("user_id", "item_id"))
    user, item = (column.indices.to_numpy() for column in (users, items))
    learnt = np.isin(parts, ["train", "validation"])
    shape = (len(users.dictionary), len(items.dictionary))
    log = sp.csr_matrix((np.ones(learnt.sum(), np.float32), (user[learnt], item[learnt])), shape)
    model = AlternatingLeastSquares(factors=64, num_threads=len(os.sched_getaffinity(0)), random_state=0)
    model.fit(log, show_progress=False)
    fitted = time.perf_counter()
    vectors = np.ascontiguousarray(model.item_factors, np.float32)
    cells = max(1, int(4 * np.sqrt(len(vectors))))
    quantizer = faiss.IndexFlatIP(vectors.shape[1])
    index = faiss.IndexIVFFlat(quantizer, vectors.shape[1], cells, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    index.nprobe = max(1, cells // 16)
    built = time.perf_counter()
    for start in range(0, shape[0], 10_000):
        index.search(np.ascontiguousarray(model.user_factors[start : start + 10_000]), 20)
    listed = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    seconds = {"fit": fitted - begin, "index": built - fitted, "lists": listed - built, "all": listed - begin}
    return {"seconds": {name: round(value, 1) for name, value in seconds.items()}, "peak_rss_bytes": peak}


def case(folder: Path, size: str, given: argparse.Namespace) -> dict[str, Any]:
    """Both nights of one size, what they left, and the same by hand."""
    items, users, choices = (int(float(number)) for number in size.split(":"))
    source = Source(folder, items, users, choices)
    source.write(given.model)
    first = night(folder, "first", AS_OF, given.set)
    entry: dict[str, Any] = {"items": items, "users": users, "choices": choices, "model": given.model, "first": first}
    show(entry, first)
    if first["exit_status"] in (0, 3):
        entry |= {"quality": quality(folder, "first"), "bytes": bytes_on_disk(folder / "workspace")}
        print(f"  quality {entry['quality']}\n  bytes {entry['bytes']}", file=sys.stderr)
        entry["status"] = verb(folder, "status")
        entry["lookup"] = verb(folder, "lookup", "--user", "u00000001")
        print(f"  status {entry['status']}, lookup {entry['lookup']}", file=sys.stderr)
        if given.kill:
            entry["killed"] = killed(folder, first, given.set)
            print(f"  killed {entry['killed']}", file=sys.stderr)
        source.change()
        entry["next"] = night(folder, "next", NEXT_AS_OF, given.set)
        show(entry, entry["next"])
        entry["next_share"] = round(entry["next"]["seconds"] / first["seconds"], 3)
        if not given.no_peer:
            command = [sys.executable, "-m", "tests.benchmarks.night_scale", "--by-hand", str(folder)]
            environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
            done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            entry["by_hand"] = json.loads(done.stdout)
            entry["ratio"] = round(first["seconds"] / entry["by_hand"]["seconds"]["all"], 2)
            print(f"  by hand {entry['by_hand']}: the night takes {entry['ratio']} x that", file=sys.stderr)
    return entry


def show(entry: dict[str, Any], done: dict[str, Any]) -> None:
    """Prints one night, a step a line."""
    print(
        f"{entry['items']:,} items, {entry['users']:,} users, {entry['choices']:,} choices, {entry['model']}: "
        f"{done['night']} night {done['seconds']} s, exit status {done['exit_status']}",
        file=sys.stderr,
    )
    for name, step in done["steps"].items():
        print(f"  {name:<16} {step['seconds']:9.1f} s {step['peak_rss_bytes'] / 1e9:6.2f} GB", file=sys.stderr)


def slopes(cases: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Of each pair of neighbouring sizes: log seconds by log items, by step."""
    found: dict[str, dict[str, float]] = {}
    for smaller, larger in pairwise(cases):
        before, after = smaller["first"]["steps"], larger["first"]["steps"]
        span = np.log(larger["items"] / smaller["items"])
        found[f"{smaller['items']}-{larger['items']}"] = {
            name: round(float(np.log(after[name]["seconds"] / before[name]["seconds"]) / span), 3)
            for name in before
            if name in after and min(before[name]["seconds"], after[name]["seconds"]) >= 1
        }
    return found


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--sizes", default="1e4:2e4:2e5,1e5:1e5:2e6")
    parser.add_argument("--model", default="svd")
    parser.add_argument("--set", action="append", default=[], help="a setting of every night, key=value")
    parser.add_argument("--no-peer", action="store_true", help="leave out what is written by hand")
    parser.add_argument("--kill", action="store_true", help="also kill a night in every step")
    parser.add_argument("--folder", type=Path, help="where to keep sources and workspaces; a temporary one if left out")
    parser.add_argument("--by-hand", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.by_hand:
        print(json.dumps(by_hand(given.by_hand, "first")))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        cases = [case(folder / size.replace(":", "-"), size, given) for size in given.sizes.split(",")]
    print(f"slopes {slopes(cases)}", file=sys.stderr)
    if given.json:
        print(json.dumps({"machine": machine(), "cases": cases, "slopes": slopes(cases)}))


if __name__ == "__main__":
    main()
