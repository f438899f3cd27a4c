"""Published splits as logs, as they lie in the test data: Parquet pairs, or a user and then its items on each line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from pipeline.interactions import Floats, Interactions
from pipeline.recommend import Content
from tests.benchmarks.harness import DATA

NAMES = ("tiktok", "lastfm", "gowalla", "beauty")


@dataclass(frozen=True)
class Split:
    """A set's parts, what a user's test list is made from and may not hold, and its features by modality.

    cutoff: what the field reports on it.
    """

    name: str
    train: Interactions
    validation: Interactions
    test: Interactions
    history: Interactions
    features: dict[str, Floats]
    cutoff: int

    def content(self, features: bool) -> Content:
        """The features as a recommender reads them, or none."""
        n = self.train.n_items
        told = {name: (vectors, np.ones(n, bool)) for name, vectors in self.features.items()} if features else {}
        return Content(np.zeros((n, 1), np.float32), np.full(n, bool(told)), None, told)


def load(name: str) -> Split:
    """One of NAMES. In beauty the item before a user's last is validation, and known when the last is asked for."""
    folder = DATA / name
    features = {path.stem: np.load(path).astype(np.float32) for path in sorted(folder.glob("*.npy"))}
    if name == "beauty":
        parts = _leave_last_out(folder / "Beauty.txt")
    elif (folder / "train.parquet").exists():
        parts = {part: _pairs(folder / f"{part}.parquet") for part in ("train", "valid", "test")}
    else:
        parts = {part: _lines(folder / f"{part}.txt")[:2] for part in ("train", "valid", "test")}
    shape = [1 + max(int(part[axis].max()) for part in parts.values()) for axis in (0, 1)]
    shape[1] = max(shape[1], *(len(vectors) for vectors in features.values()), 0)
    train, validation, test = (_log(*parts[part], *shape) for part in ("train", "valid", "test"))
    history = train.concat(validation) if name == "beauty" else train
    return Split(name, train, validation, test, history, features, 10 if name == "beauty" else 20)


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
