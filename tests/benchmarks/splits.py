"""Splits to measure recommenders on: published ones, as they lie in the test data (Parquet pairs, or a user and then
its items on each line), and those of a night of the sample shop, movies or creatures, with everything fused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow.parquet as pq

from pipeline.evaluation.metrics import Task
from pipeline.interactions import Interactions
from pipeline.recommend import kind_of
from pipeline.recommend.base import Content
from tests.benchmarks.harness import DATA

# Of these, the item before a user's last is validation, and known when the last is asked for.
SEQUENCES = {"beauty": "Beauty.txt", "sports": "Sports_and_Outdoors.txt"}
# Of these, only what is in training is known, and masked, when the test is ranked: as those who published them do.
MASK_TRAINING = ("tiktok", "lastfm", "mmrec_sports", "mmrec_clothing")
PUBLISHED = (*MASK_TRAINING, "gowalla", *SEQUENCES)
NIGHTS = ("shop", "movies", "creatures")


@dataclass(frozen=True)
class Split:
    """What a model is fitted on, chosen by and measured with.

    history: what users are made of when `tasks` are ranked, which are the test part's by segment. content: of a model's
    name, what it reads of the items. refit: fit again, with the settings chosen, on the history before the test.
    metrics: what the field reports.
    """

    name: str
    train: Interactions
    validation: Interactions
    history: Interactions
    tasks: Mapping[str, Task]
    content: Callable[[str], Content]
    features: tuple[str, ...]
    metrics: tuple[str, str]
    refit: bool = False

    def bare(self) -> Content:
        """No content at all."""
        n = self.train.n_items
        return Content(np.zeros((n, 1), np.float32), np.zeros(n, bool))


def load(name: str, folder: Path) -> Split:
    """One of PUBLISHED, or of NIGHTS, which is staged, extracted and fused in the folder unless it is there already."""
    return published(name) if name in PUBLISHED else _night(name, folder / name)


def published(name: str) -> Split:
    """One of PUBLISHED. Gowalla's published training part is what is training and validation here."""
    folder = DATA / name
    features = {path.stem: np.load(path).astype(np.float32) for path in sorted(folder.glob("*.npy"))}
    if name in SEQUENCES:
        parts = _leave_last_out(folder / SEQUENCES[name])
    elif (folder / "train.parquet").exists():
        parts = {part: _pairs(folder / f"{part}.parquet") for part in ("train", "valid", "test")}
    else:
        parts = {part: _lines(folder / f"{part}.txt")[:2] for part in ("train", "valid", "test")}
    shape = [1 + max(int(part[axis].max()) for part in parts.values()) for axis in (0, 1)]
    shape[1] = max(shape[1], *(len(vectors) for vectors in features.values()), 0)
    train, validation, test = (_log(*parts[part], *shape) for part in ("train", "valid", "test"))
    history = train if name in MASK_TRAINING else train.concat(validation)
    n = train.n_items
    told = {m: (vectors, np.ones(n, bool)) for m, vectors in features.items()}
    content = Content(np.zeros((n, 1), np.float32), np.full(n, bool(told)), modalities=told)
    k = 10 if name in SEQUENCES else 20
    metrics = f"recall@{k}", f"ndcg@{k}"
    tasks = {"test": Task(history, test)}
    return Split(name, train, validation, history, tasks, lambda _: content, tuple(told), metrics, name == "gowalla")


def _night(name: str, folder: Path) -> Split:
    from pipeline import cli, config
    from pipeline.artefacts.staged import open_test
    from pipeline.evaluation.segments import tasks_of
    from pipeline.night import resume
    from pipeline.steps.ingest import staged_of
    from pipeline.steps.train import content_of
    from tests.benchmarks.nights import AS_OF, prepare

    marker = folder / "fused"
    written = name == "shop" and marker.exists()
    given = ("-c", str(folder / "medley.yaml")) if written else prepare(name, folder)
    given = (*given, "-s", f"workspace={folder / 'workspace'}")
    if not marker.exists():
        cli.app(["ingest", "-q", "--as-of", AS_OF, *given], standalone_mode=False)
        for verb in ("extract", "fuse"):
            cli.app([verb, "-q", *given], standalone_mode=False)
        marker.touch()
    night = resume(config.load(Path(given[1]), tuple(given[3::2])), None)
    with TemporaryDirectory() as scratch:
        log = open_test(staged_of(night), night.workspace, night.folder, "benchmark", Path(scratch))
    asked = tasks_of(log, night.config.evaluate, {})
    tasks = {segment: asked[segment] for segment in ("all", "cold")}
    history = log.of("train", "validation")
    train, validation = log.of("train"), log.of("validation")
    features = tuple(str(m) for m in content_of(night, log, kind_of("graph").reads).modalities)
    metrics = "recall@20", "ndcg@10"
    return Split(
        name, train, validation, history, tasks, lambda m: content_of(night, log, kind_of(m).reads), features, metrics
    )


def _pairs(path: Path) -> tuple[np.ndarray, np.ndarray]:
    table = pq.read_table(path)
    return table["user_id"].to_numpy(), table["item_id"].to_numpy()


def _lines(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Users, items, and each item's place from the end of its line, the last being 0."""
    rows = [np.array(line.split(), np.int64) for line in path.read_text("utf-8").splitlines() if line.strip()]
    user = np.concatenate([np.full(len(row) - 1, row[0]) for row in rows])
    place = np.concatenate([np.arange(len(row) - 1)[::-1] for row in rows])
    return user, np.concatenate([row[1:] for row in rows]), place


def _leave_last_out(path: Path) -> dict[str, tuple[np.ndarray, ...]]:
    user, item, place = _lines(path)
    parts = {"test": place == 0, "valid": place == 1, "train": place > 1}
    return {part: (user[rows], item[rows], place[rows]) for part, rows in parts.items()}


def _log(user: np.ndarray, item: np.ndarray, *rest: np.ndarray | int) -> Interactions:
    *ages, users, items = rest
    age_days = np.asarray(ages[0], np.float64) if ages else np.zeros(len(user))
    order = np.lexsort((item, -age_days, user))
    codes = user[order].astype(np.int32), item[order].astype(np.int32)
    return Interactions(*codes, age_days[order], np.ones(len(user), np.float32), int(users), int(items))
