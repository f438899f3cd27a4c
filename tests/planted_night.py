"""A night's workspace up to extraction, written by hand from a planted catalogue, for steps to run on in seconds."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.artefacts.log import LEARNT, MICROSECONDS_PER_DAY, PARTS, RowsWriter
from pipeline.artefacts.published import LISTS
from pipeline.artefacts.shards import Summary
from pipeline.artefacts.staged import SourceSummary, Staged
from pipeline.artefacts.vectors import read_vectors
from pipeline.config import Config
from pipeline.config.rerank import Rerank
from pipeline.config.sections import Evaluate
from pipeline.fusion.kinds.linear import LinearSettings
from pipeline.night import Night, StepReceipt
from pipeline.recommend.models.als import AlsSettings
from pipeline.recommend.models.ease import EaseSettings
from pipeline.recommend.models.item_knn import ItemKnnSettings
from pipeline.recommend.models.popularity import PopularitySettings
from pipeline.recommend.models.random import RandomSettings
from pipeline.recommend.models.rp3beta import Rp3BetaSettings
from pipeline.recommend.models.two_tower import TwoTowerSettings
from pipeline.rerank.lists import lists_of
from pipeline.rerank.snapshot import Catalogue, Snapshot
from pipeline.serving.recommendations import write_lists
from pipeline.steps import index
from pipeline.storage.files import sha256_of
from pipeline.workspace import CARD, Artefact, Workspace
from tests.fusion.planted import BUCKETS, Planted, planted
from tests.receipts import write_receipt

STAGED = "staged/planted"
LOGS = ("interactions", "shown")
ROWS = ("user", "item", "ts", "weight", "part")
EVALUATE = Evaluate(
    bootstrap_samples=50,
    baselines=(
        RandomSettings(),
        PopularitySettings(half_life_days=(90,)),
        ItemKnnSettings(shrink=(0,)),
        Rp3BetaSettings(alpha=(1,), beta=(0.3,)),
        EaseSettings(regularization=(200,)),
        AlsSettings(factors=8, iterations=3, regularization=(5,), alpha=(4,)),
    ),
)
TRAIN = TwoTowerSettings(width=8, max_epochs=2, batch_rows=256, negatives=64, history_items=5, heads=2)
RERANK = Rerank(learn_from="shown", chosen_within_days=0.5, max_epochs=4)
CONFIG = Config(fuse=LinearSettings(width=16), train=TRAIN, evaluate=EVALUATE, rerank=RERANK, threads=1)
SHOWN = 4
LISTED = 20


def planted_night(folder: Path, config: Config = CONFIG, run_id: str = "first") -> Night:
    """A run that has ingested and extracted the planted catalogue."""
    night = Night(config, Workspace(folder), run_id, datetime(2026, 1, 1, tzinfo=UTC))
    found = planted(folder / "embeddings")
    write_items(folder, found)
    write_log(folder, found)
    outputs = {path: sha256_of(folder / path) for path in (f"{STAGED}/{name}.parquet" for name in LOGS)}
    details = write_summary(night, found)
    night.workspace.write_json(f"{STAGED}/receipt.json", Artefact(STAGED, outputs, {}, details))
    leave(night, "ingest", STAGED, len(found.log.items), details, outputs)
    for modality, paths in found.material.shards.paths.items():
        for bucket, path in enumerate(paths):
            told = {**asdict(Summary(100, 0, 0, 0, {}, [])), "space": ""}
            leave(night, f"extract.{modality}.bucket-{bucket:05d}", str(path.relative_to(folder)), 100, told)
    return night


def write_summary(night: Night, found: Planted) -> dict[str, object]:
    """Leaves and returns `split.json`."""
    log = found.log
    parts = {part: int((log.part == code).sum()) for code, part in enumerate(PARTS)}
    rows = tuple(len(part) for part in np.array_split(np.arange(len(log.items)), BUCKETS))
    cold, users, items = int(log.cold.sum()), len(log.users), len(log.items)
    summary = asdict(SourceSummary("time", 0, BUCKETS, rows, None, None, cold, parts, users, items, (), ()))
    night.workspace.write_json(f"{STAGED}/split.json", summary)
    return summary


def write_items(folder: Path, found: Planted) -> None:
    (folder / STAGED / "items").mkdir(parents=True)
    for bucket, rows in enumerate(np.array_split(np.arange(len(found.log.items)), BUCKETS)):
        ids = pa.array([found.log.items[row] for row in rows], pa.string())
        titles = pa.array([f"Record {row}" for row in rows], pa.string())
        table = pa.table({"item_id": ids, "title": titles, "cold": pa.array(found.log.cold[rows])})
        pq.write_table(table, folder / STAGED / "items" / f"bucket-{bucket:05d}.parquet")


def write_log(folder: Path, found: Planted) -> None:
    """The log, and what was shown an hour before each choice: its item, and others."""
    log, day = found.log.entries, int(MICROSECONDS_PER_DAY)
    ts = (datetime(2025, 12, 1, tzinfo=UTC).timestamp() * 1e6 - log.age_days * day).astype(np.int64)
    chosen = pa.table([log.user, log.item, ts, log.weight, found.log.part], names=ROWS)
    row, place = np.divmod(np.arange(len(log) * SHOWN), SHOWN)
    item = np.where(place == 0, log.item[row], np.random.default_rng(1).integers(len(found.log.items), size=len(row)))
    dated = np.where(found.log.part == PARTS.index("held_out"), PARTS.index("train"), found.log.part)[row]
    part = np.where(found.log.cold[item] & (dated != PARTS.index("test")), PARTS.index("held_out"), dated)
    columns = [log.user[row], item.astype(np.int32), ts[row] - day // 24, np.ones(len(row)), part.astype(np.int8)]
    (folder / STAGED / "log").mkdir()
    pq.write_table(pa.table({"user_id": found.log.users}), folder / STAGED / "log" / "users.parquet")
    write_rows(folder, chosen, pa.table(columns, names=ROWS))


def write_rows(folder: Path, chosen: pa.Table, shown: pa.Table) -> None:
    """Writes coded rows, of columns ROWS, as `ingest` does, and beside them the same rows as Parquet, still coded."""
    learnt = chosen.filter(pc.less(chosen["part"], len(LEARNT)))
    newest = pc.max(learnt["ts"]).as_py(), pc.max(chosen["ts"]).as_py()
    for table, name, place in ((chosen, "interactions", "log"), (shown, "shown", "shown")):
        table = table.sort_by([(column, "ascending") for column in ("user", "ts", "item")]).combine_chunks()
        counts = {part: pc.sum(pc.equal(table["part"], code)).as_py() for code, part in enumerate(PARTS)}
        writer = RowsWriter(folder / STAGED / place, counts, newest)
        for batch in table.to_batches():
            writer.append(batch)
        pq.write_table(table, folder / STAGED / f"{name}.parquet")


def publish(night: Night) -> None:
    """Publishes what a night has trained, written by hand: as `index` and `publish` do, but for encoders and gates."""
    staged, folder = Staged(night.workspace.path(STAGED)), night.workspace.path("index", "planted")
    log, everything = staged.read_log(), staged.read_everything()
    published = night.workspace.path(night.receipt("train").path, "published")
    _, items = read_vectors(published / "item_vectors.parquet", "item_id")
    _, users = read_vectors(published / "user_vectors.parquet", "user_id")
    folder.mkdir(parents=True)
    ids = pa.array(log.users, pa.string()), pa.array(log.items, pa.string())
    index.write_users(*ids, everything, users, folder / "users.parquet")
    titles = staged.items(["item_id", "title"]).append_column("has_content", pa.array([True] * len(items)))
    pq.write_table(titles, folder / "items.parquet")
    flat = faiss.IndexFlatIP(items.shape[1])
    flat.add(items)
    faiss.write_index(flat, str(folder / "recommend.faiss"))
    snapshot = Snapshot(Catalogue(items, {}, np.ones(len(items), bool), flat), users, everything)
    lists = lists_of(snapshot, None, np.flatnonzero(snapshot.known), LISTED)
    write_lists(lists, *ids, LISTED, folder / LISTS)
    lineage = {receipt.step: receipt.path for receipt in night.receipts()}
    encoders = {step.split(".")[1]: "" for step in lineage if step.startswith("extract.")}
    card = {"model": night.config.train.model, "encoders": encoders, "lineage": lineage}
    (folder / CARD).write_text(json.dumps(card), "utf-8")
    write_receipt(folder)
    made = {"index": "index/planted", "digest": "planted", "run_id": night.run_id}
    times = dict.fromkeys(("as_of", "published_at"), night.as_of.isoformat())
    night.workspace.write_json("CURRENT.json", {**made, **times})


def leave(
    night: Night, step: str, path: str, rows: int, details: dict[str, object], outputs: dict[str, str] | None = None
) -> None:
    """Leaves a step's receipt."""
    receipt = StepReceipt(step, path, Path(path).stem, rows, rows, 0, False, 0.0, 0, outputs or {}, details)
    night.workspace.write_json(f"{night.folder}/steps/{step}.json", asdict(receipt))
