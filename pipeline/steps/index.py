"""Index: the published vectors as a folder that other services open with plain faiss and pyarrow.

- `recommend.faiss` finds items for a user's vector, `content.faiss` for any mix of text, picture and clip: both answer
  with rows of `items.parquet`, and the latter holds only items that have content; see `pipeline.indexing.planner`;
- `recommendations.parquet` has every user's one list, re-ordered where the night's re-ranker is used;
- the folder's files: see `pipeline.artefacts.published`.

Everything is written in blocks. Measured beside the vectors that go in: what users chose takes 0.07 GB at 10⁵ users of
2·10⁶ choices and 0.09 GB at 5·10⁵ of 10⁷; the cells of an index stay on disk.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import __version__
from pipeline.artefacts.fused import WEIGHTS, Fused
from pipeline.artefacts.log import Log
from pipeline.artefacts.published import CONTENT, ENCODERS, FOLD_IN, ITEMS, LISTS, RECOMMEND, USERS, WITHOUT_LIST
from pipeline.artefacts.vectors import write_groups
from pipeline.artefacts.verified import CARD_SHA256, write_blocks
from pipeline.config.rerank import Rerank
from pipeline.errors import StepFailed
from pipeline.indexing.clusters import Indexed
from pipeline.indexing.exact import Queries
from pipeline.indexing.judged import DEPTH, Targets, Tried
from pipeline.indexing.planner import LEARNERS, planned
from pipeline.interactions import Floats, Int64s, Interactions, Mask
from pipeline.night import Night, StepReceipt
from pipeline.recommend.user_sides import export_users
from pipeline.rerank.lists import lists_of
from pipeline.rerank.snapshot import Catalogue, Snapshot
from pipeline.runtime import threads
from pipeline.serving.recommendations import write_lists
from pipeline.steps import index_cells, personal, rerank, train
from pipeline.steps.fuse_users import write_without
from pipeline.steps.index_users import write_users
from pipeline.steps.ingest import staged_of
from pipeline.steps.prepare import ensure
from pipeline.steps.staging import columns_of
from pipeline.storage.documents import Json
from pipeline.storage.files import sha256_of
from pipeline.workspace import CARD, digest

if TYPE_CHECKING:
    import faiss

VERSION = 12
NO_VECTOR = "the model has no vector for them"
NOTHING_LEFT = "they have every item of the index"


def run(night: Night) -> StepReceipt:
    """Writes `index/<digest>/`.

    Raises StepFailed if no item has a vector.
    """
    keys = _keys(night)
    key, targets = _key(night, keys), Targets(night.config.index, night.config.seed)
    if not night.dry and _is_missing(night, key):
        index_cells.complete(night)
    return night.step("index", "index", key, lambda folder: _build(night, keys, targets, folder))


def tasks(night: Night) -> list[Json]:
    """What of it a scheduler maps over, see `index_cells`; nothing where the index is there. Raises as `run`."""
    return index_cells.tasks(night) if _is_missing(night, _key(night, _keys(night))) else []


def _is_missing(night: Night, key: str) -> bool:
    return night.full or night.workspace.artefact(f"index/{key}") is None


def _key(night: Night, keys: Mapping[str, str]) -> str:
    made_of = [night.receipt(step).digest for step in ("fuse", "train", "rerank")]
    staged = staged_of(night).digest("items/", "interactions")
    return digest("index", VERSION, night.config.index, night.config.seed, *made_of, staged, dict(keys))


def _keys(night: Night) -> dict[str, str]:
    """By modality, the key of its encoder."""
    return {modality: ensure(night, modality).encoder.key for modality in night.config.extract.modalities()}


@dataclass(frozen=True)
class _Vectors:
    """What is published, by code: ids, vectors (n_items, d) and (n_users, d), and who has content, (n_items,) bool.

    log: of these users. history: all that they chose. fused_width: of the content.
    """

    log: Log
    item_ids: pa.Array
    user_ids: pa.Array
    items: Floats
    users: Floats
    has_content: Mask
    fused_width: int
    history: Interactions

    @cached_property
    def indexed(self) -> Mask:
        """See `indexed_items`."""
        return index_cells.indexed_items(self.has_content, self.history)

    @cached_property
    def known(self) -> Int64s:
        """Users that have a vector, of a history or of a profile."""
        return np.flatnonzero(self.users.any(axis=1))

    def queries(self, targets: Targets) -> tuple[Queries, Queries]:
        """Users that the index is tuned and judged with, and others that it learns from, each with what they have."""
        users = np.random.default_rng(targets.seed).permutation(self.known)
        parts = np.split(users[: targets.settings.queries + LEARNERS], [targets.settings.queries])
        asking, learners = (Queries(self.users[part], self._taken(part)) for part in parts)
        return asking, learners

    def _taken(self, users: Int64s) -> list[Int64s]:
        """Of each user, the places among the indexed items of those that they have."""
        place = np.where(self.indexed, np.cumsum(self.indexed) - 1, -1)
        offsets = self.history.offsets()
        chosen = (place[self.history.item[offsets[user] : offsets[user + 1]]] for user in users.tolist())
        return [np.unique(own[own >= 0]) for own in chosen]


def _vectors(night: Night) -> _Vectors:
    staged = staged_of(night)
    log, history = staged.read_log(), staged.read_everything()
    has_content, fused_width = Fused(night.folder_of("fuse")).content()
    published = train.read(night).published
    (_, items), (names, users) = published.items(), published.users()
    if names != log.users:
        history = recoded(history, pa.array(log.users, pa.string()), pa.array(names, pa.string()))
    ids = pa.array(log.items, pa.string()), pa.array(names, pa.string())
    return _Vectors(replace(log, users=names), *ids, items, users, has_content, fused_width, history)


def recoded(log: Interactions, users: pa.Array, others: pa.Array) -> Interactions:
    """The log by codes of other users, among whom all of its own are; those that are only there chose nothing."""
    place = pc.index_in(users, others).to_numpy(zero_copy_only=False)
    user = place[log.user].astype(np.int32)
    order = np.argsort(user, kind="stable")
    columns = user[order], log.item[order], log.age_days[order], log.weight[order]
    return Interactions(*columns, len(others), log.n_items)


def _build(night: Night, keys: dict[str, str], targets: Targets, folder: Path) -> Json:
    vectors = _vectors(night)
    indexed, known = np.flatnonzero(vectors.indexed), vectors.known
    if not len(indexed):
        raise StepFailed("no item has a vector, so there is nothing to index")
    _write_items(night, vectors, folder)
    write_users(vectors.user_ids, vectors.item_ids, vectors.history, vectors.users, folder / USERS)
    shutil.copyfile(Fused(night.folder_of("fuse")).weights, folder / WEIGHTS)
    (folder / ENCODERS).write_text(json.dumps(_encoders(night), indent=1, sort_keys=True), "utf-8")
    _copy_fitted(night, folder)
    trained = train.read(night)
    profiles = Fused(night.folder_of("fuse")).profiles_path
    without = export_users(trained.details.model, trained.published.folder, indexed, folder / FOLD_IN, profiles)
    by_content = _index_content(night, vectors, targets, folder)
    asking, learners = vectors.queries(targets)
    items = Indexed(vectors.items, indexed)
    cells = partial(index_cells.read, night, "recommend")
    recommend, by_vector = planned(items, asking, learners, targets, folder / RECOMMEND, cells)
    recommended = _recommend(night, vectors, recommend, folder)
    write_blocks(folder, (ITEMS, USERS, LISTS, WITHOUT_LIST))
    widths = {"recommend": vectors.items.shape[1], "content": vectors.fused_width}
    card = _card(night, keys, {"recommend": by_vector, "content": by_content}, widths) | {"recommended": recommended}
    card["not_folded_in"] = without
    model, evaluated = trained.details.model, trained.evaluated
    card["personal"] = personal.weigh(folder, staged_of(night), evaluated, model, indexed, targets.seed)
    counts = {"rows": len(indexed), "users": len(known), "unindexed_items": len(vectors.items) - len(indexed)}
    counts["recommendations"] = recommended["rows"]
    (folder / CARD).write_text(json.dumps({**counts, **card}, indent=1, sort_keys=True), "utf-8")
    details = {"missing_rows": counts["unindexed_items"]}
    details |= {name: card[name] for name in ("recall", "recall_high", "counted_ms")}
    return {**counts, **details, CARD_SHA256: sha256_of(folder / CARD)}


def _index_content(night: Night, vectors: _Vectors, targets: Targets, folder: Path) -> list[Tried]:
    """Writes the index of items by their content, which are in memory as long as this runs; items ask for others."""
    _, fused = Fused(night.folder_of("fuse")).items()
    rows = np.flatnonzero(vectors.has_content)
    items = Indexed(fused, rows, np.cumsum(vectors.indexed)[rows] - 1)
    asking = np.sort(np.random.default_rng(targets.seed).permutation(len(rows))[: targets.settings.queries])
    asking = np.random.default_rng(targets.seed).permutation(asking)
    queries = Queries(items.of(asking), list(asking[:, None]))
    cells = partial(index_cells.read, night, "content")
    return planned(items, queries, queries.part(slice(0)), targets, folder / CONTENT, cells)[1]


def _recommend(night: Night, vectors: _Vectors, index: faiss.Index, folder: Path) -> Json:
    """Writes each user's list, and who has none and why; returns the card's entry."""
    from pipeline.rerank.network import load_ranker

    reranked, count, settings = rerank.read(night), night.config.index.recommendations, night.config.rerank
    inputs = rerank.modality_inputs(night) if reranked.used else {}
    catalogue = Catalogue(vectors.items, inputs, vectors.indexed, index)
    snapshot = Snapshot(catalogue, vectors.users, vectors.history)
    ranker = load_ranker(reranked.published, catalogue, threads(night.config)) if reranked.used else None
    depth = max(count, reranked.candidates) if reranked.used else count
    lists = lists_of(snapshot, ranker, vectors.known, depth)
    rows, served = write_lists(lists, vectors.user_ids, vectors.item_ids, count, folder / LISTS)
    reasons = np.where(vectors.users.any(axis=1), NOTHING_LEFT, NO_VECTOR)
    missing = {vectors.user_ids[int(user)].as_py(): str(reasons[user]) for user in np.flatnonzero(~served)}
    without = write_without(night, vectors.log, missing, folder / WITHOUT_LIST)
    fit = reranked.fit
    score = _meaning(settings, fit.learned_from) if reranked.used and fit else "inner product"
    return {"rows": rows, "users": int(served.sum()), "users_without": without, "k": count, "score": score}


def _meaning(settings: Rerank, learned_from: str) -> str:
    """What a score of the re-ranker is."""
    days = f"within {settings.chosen_within_days:g} days of being shown the item"
    when = days if learned_from == "shown" else "within a time as long as the validation part"
    return f"probability by the re-ranker that the user chooses the item {when}"


def _write_items(night: Night, vectors: _Vectors, folder: Path) -> None:
    hidden = {"cold", *columns_of(night.config)}
    parts = staged_of(night).item_parts(lambda name: name not in hidden and not name.endswith(("_hash", "_problem")))

    def indexed() -> Iterator[pa.Table]:
        start = 0
        for part in parts:
            rows = slice(start, start + len(part))
            table = part.append_column("has_content", pa.array(vectors.has_content[rows]))
            yield table.filter(pa.array(vectors.indexed[rows]))
            start = rows.stop

    write_groups(folder / ITEMS, indexed())


def _copy_fitted(night: Night, folder: Path) -> None:
    """Copies what a query's encoder needs of its fit; not a calibrated network: see `lookup`."""
    for modality in night.config.extract.modalities():
        source = ensure(night, modality).encoder.prepared.folder
        if source and source.is_dir() and any(source.iterdir()):
            shutil.copytree(source, folder / "encoders" / modality, ignore=shutil.ignore_patterns("int8.*"))


def _encoders(night: Night) -> Json:
    """What a query's encoder is made from, by modality."""
    encoders: Json = {}
    for modality, settings in night.config.extract.modalities().items():
        encoder = ensure(night, modality).encoder
        encoders[modality] = {
            "key": encoder.key,
            "identity": encoder.identity,
            "fitted": encoder.prepared.fitted,
            "settings": settings.model_dump(mode="json"),
        }
    return encoders


def _card(night: Night, keys: dict[str, str], tried: dict[str, list[Tried]], widths: dict[str, int]) -> Json:
    receipts = [receipt for receipt in night.receipts() if receipt.step.partition(".")[0] != "index"]
    chosen = {name: next(one for one in several if one.chosen) for name, several in tried.items()}
    recalls = [one.recall[str(DEPTH)] for one in chosen.values()]
    return {
        "medley": __version__,
        "metric": "inner product",
        "d": widths,
        "recall": min(recall["mean"] for recall in recalls),
        "recall_high": min(recall["high"] for recall in recalls),
        "recall_at": DEPTH,
        "counted_ms": max(one.counted_ms for one in chosen.values()),
        "indexes": {name: one.written() for name, one in chosen.items()},
        "compared": {name: [one.written() for one in several] for name, several in tried.items()},
        "max_latency_ms": night.config.index.max_latency_ms,
        "model": train.read(night).details.model,
        "encoders": dict(keys),
        "lineage": {receipt.step: receipt.path for receipt in receipts},
    }
