"""Lookup: asks the published index, for a user or for any mix of item, text, picture and clip."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import faiss
import numpy as np
import pyarrow.compute as pc
import pyarrow.dataset as ds

from pipeline.artefacts.read import read_table, readable
from pipeline.artefacts.vectors import matrix
from pipeline.config import Config, Extract, Modality
from pipeline.errors import ConfigError, MediaError, WorkspaceError
from pipeline.interactions import Floats, unit_rows
from pipeline.workspace import Json, read_json

if TYPE_CHECKING:
    from pipeline.encoders.base import Encoder, Input, Text


@dataclass(frozen=True)
class Query:
    """What is asked for: a user, or any of an item, a text, a picture and a clip, which are then combined."""

    user: str | None = None
    item: str | None = None
    text: str | None = None
    image: Path | None = None
    audio: Path | None = None
    k: int = 10

    def given(self) -> dict[str, str]:
        """What was asked for, by name, as text."""
        named = {"user": self.user, "item": self.item, "text": self.text, "image": self.image, "audio": self.audio}
        return {name: str(value) for name, value in named.items() if value is not None}


@dataclass(frozen=True)
class Hit:
    """One answer: `score` is the inner product of the query's and the item's vectors."""

    item_id: str
    score: float
    title: str


@dataclass(frozen=True)
class Answer:
    """The hits, best first, and the digest of the index that gave them."""

    index: str
    query: dict[str, str]
    hits: list[Hit] = field(default_factory=list)

    def as_json(self) -> Json:
        """The document of `medley lookup --json`."""
        return {"index": self.index, "query": dict(self.query), "hits": [dict(hit.__dict__) for hit in self.hits]}


def current(workspace: Path) -> Json:
    """What is published.

    Raises WorkspaceError if the folder is not there or nothing has been published yet.
    """
    if not workspace.is_dir():
        raise WorkspaceError(f"workspace {workspace}: no such folder; give the one that medley.yaml names with -w")
    found = read_json(workspace / "CURRENT.json")
    if found is None:
        raise WorkspaceError(f"workspace {workspace}: nothing is published yet; run `medley run` first")
    return found


def ask(workspace: Path, query: Query) -> Answer:
    """Answers a query from the published index.

    Raises ConfigError if the query names nothing, or a user together with anything else, or an unknown user or item;
    MediaError if its picture or clip cannot be read.
    """
    given = query.given()
    if not given or ("user" in given and len(given) > 1) or query.k < 1:
        raise ConfigError("ask for --user, or for any of --item, --text, --image and --audio; -k is 1 or more")
    published = current(workspace)
    folder = workspace / str(published["index"])
    index = _Index(folder)
    hits = index.for_user(str(query.user), query.k) if query.user else index.for_content(query)
    return Answer(str(published["digest"]), given, hits)


class _Index:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        columns = ["item_id", "title", "has_content"]
        self.items = read_table(folder / "items.parquet", columns, hint="run the night with --full")

    def for_user(self, user_id: str, k: int) -> list[Hit]:
        table = read_table(self.folder / "users.parquet", where=ds.field("user_id") == user_id)
        if not table.num_rows:
            raise ConfigError(f"--user {user_id}: not in the published index; only users with a history are")
        vector = matrix(table["vector"])[0]
        return self._search("recommend.faiss", vector, k, hidden=set(table["seen"][0].as_py()))

    def for_content(self, query: Query) -> list[Hit]:
        sides: list[Floats] = []
        hidden: set[str] = set()
        if query.item:
            sides.append(self._content_of(query.item))
            hidden.add(query.item)
        raw: dict[Modality, bytes | Text] = {}
        if query.text is not None:
            from pipeline.encoders.base import Text

            raw["text"] = Text({"text": query.text}, query=True)
        if query.image is not None:
            raw["image"] = _read(query.image)
        if query.audio is not None:
            raw["audio"] = _read(query.audio)
        if raw:
            sides.append(_encode(self.folder, raw))
        vector = np.sum(sides, axis=0)
        norm = float(np.linalg.norm(vector))
        return self._search("content.faiss", (vector / norm if norm else vector).astype(np.float32), query.k, hidden)

    def _content_of(self, item_id: str) -> Floats:
        row = pc.index(self.items["item_id"], item_id).as_py()
        if row < 0:
            raise ConfigError(f"--item {item_id}: not in the published index")
        if not self.items["has_content"][row].as_py():
            raise ConfigError(f"--item {item_id}: it has no text, image or audio to be compared by")
        return np.asarray(self._open("content.faiss").reconstruct(row))

    def _search(self, name: str, vector: Floats, k: int, hidden: set[str]) -> list[Hit]:
        index = self._open(name)
        without_content = int(pc.sum(pc.invert(self.items["has_content"])).as_py() or 0) if name[0] == "c" else 0
        depth = min(index.ntotal, k + len(hidden) + without_content)
        scores, rows = index.search(vector[None], depth)
        hits = (self._hit(int(row), float(score)) for score, row in zip(scores[0], rows[0], strict=True) if row >= 0)
        shown = [hit for hit, usable in hits if hit.item_id not in hidden and (usable or name[0] == "r")]
        return shown[:k]

    def _hit(self, row: int, score: float) -> tuple[Hit, bool]:
        one = self.items.slice(row, 1).to_pylist()[0]
        return Hit(one["item_id"], score, one["title"] or ""), bool(one["has_content"])

    def _open(self, name: str) -> faiss.Index:
        with readable(self.folder / name):
            return faiss.read_index(str(self.folder / name))


def _encode(folder: Path, raw: dict[Modality, bytes | Text]) -> Floats:
    """The query's place in the fused space, by the encoders and weights that the index was made with."""
    from pipeline.artefacts.fused import WEIGHTS
    from pipeline.encoders import Prepared, make
    from pipeline.fusion.saved import load

    made_with = json.loads((folder / "encoders.json").read_text("utf-8"))
    settings = {modality: made_with[modality]["settings"] if modality in made_with else None for modality in _ALL}
    config = Config(extract=Extract.model_validate(settings))
    vectors: dict[Modality, Floats] = {}
    for modality, value in raw.items():
        if modality not in made_with:
            raise ConfigError(
                f"--{modality}: the published index was made without {modality}; it has {', '.join(made_with)}"
            )
        if (given := made_with[modality]["settings"])["encoder"] == "array":
            raise ConfigError(
                f"--{modality}: the published index has its vectors from {given['file']}, and nothing makes one of a "
                "query; ask by --item or --user"
            )
        # One query is encoded by torch in fp32, which every chosen precision keeps close to.
        prepared = Prepared(folder / "encoders" / modality, made_with[modality]["fitted"])
        encoder = make(config, modality, prepared)
        if encoder.identity != made_with[modality]["identity"]:
            raise ConfigError(f"--{modality}: the weights here are not those of the published index; install the same")
        encoder.load()
        vectors[modality] = unit_rows(encoder.embed([_decode(encoder, value, modality)]))
    fused, _ = load(folder / WEIGHTS).transform(vectors)
    if np.isnan(fused).any():
        raise ConfigError("the query has no direction in the fused space; give fuse.weights of its modality above 0")
    return np.asarray(fused[0])


_ALL: tuple[Modality, ...] = ("text", "image", "audio")


def _decode(encoder: Encoder, value: bytes | Text, modality: str) -> Input:
    try:
        return encoder.decode(value)
    except MediaError as error:
        raise MediaError(f"--{modality}: {error}") from None


def _read(path: Path) -> bytes:
    from pipeline.media import read_media

    return read_media(path.parent, path.name, 200_000_000)
