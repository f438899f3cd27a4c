"""Lookup: asks the published index, for a user or for any mix of item, text, picture and clip.

A user is answered with their one list, `recommendations.parquet`; a mix is searched for among items that have content.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.artefacts.published import CONTENT, Published, published
from pipeline.errors import ConfigError, MediaError
from pipeline.interactions import Floats, unit_rows
from pipeline.workspace import Json

if TYPE_CHECKING:
    import faiss

    from pipeline.config import Modality
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
    """One answer: `score` is that of the user's list, or the cosine of the mix and the item's content."""

    item_id: str
    score: float
    title: str


@dataclass(frozen=True)
class Answer:
    """The hits, best first, and the digest of the index that gave them. note: why they are fewer than asked for."""

    index: str
    query: dict[str, str]
    hits: list[Hit] = field(default_factory=list)
    note: str = ""

    def as_json(self) -> Json:
        """The document of `medley lookup --json`."""
        return {name: value for name, value in asdict(self).items() if value or name != "note"}


def ask(workspace: Path, query: Query) -> Answer:
    """Answers a query from the published index.

    Raises ConfigError if the query names nothing, or a user together with anything else, or an unknown user or item;
    MediaError if its picture or clip cannot be read.
    """
    inputs = query.given()
    if not inputs or ("user" in inputs and len(inputs) > 1) or query.k < 1:
        raise ConfigError("ask for --user, or for any of --item, --text, --image and --audio; -k is 1 or more")
    index = published(workspace)
    if query.user is None:
        return Answer(index.digest, inputs, _for_content(index, query))
    hits = _for_user(index, query.user)
    note = (
        f"the list of {query.user} has {len(hits)} items; index.recommendations sets how many"
        if query.k > len(hits)
        else ""
    )
    return Answer(index.digest, inputs, hits[: query.k], note)


def _for_user(index: Published, user: str) -> list[Hit]:
    rows = index.lists([user])
    if not rows.num_rows:
        reason = index.without_list(user)
        why = "not in the published index" if reason is None else f"no recommendations, because of this user: {reason}"
        raise ConfigError(f"--user {user}: {why}")
    ids = rows["item_id"].to_pylist()
    named = index.items(["item_id", "title"], ids)
    titles = dict(zip(named["item_id"].to_pylist(), named["title"].to_pylist(), strict=True))
    return [Hit(item, score, titles[item] or "") for item, score in zip(ids, rows["score"].to_pylist(), strict=True)]


def _for_content(index: Published, query: Query) -> list[Hit]:
    """Items nearest to the mean direction of what is given; of an item itself, all others."""
    content = index.faiss(CONTENT)
    sides = [_content_of(index, content, query.item)] if query.item else []
    raw = _raw(query)
    if raw:
        sides.append(_encode(index, raw))
    vector = np.sum(sides, axis=0)
    norm = float(np.linalg.norm(vector))
    unit = (vector / norm if norm else vector).astype(np.float32)
    scores, rows = content.search(unit[None], min(content.ntotal, query.k + bool(query.item)))
    # An inverted file may come back with fewer, and fills up with -1.
    answers = [(row, score) for row, score in zip(rows[0].tolist(), scores[0].tolist(), strict=True) if row >= 0]
    named = index.at_rows([row for row, _ in answers], ["item_id", "title"]).to_pylist()
    hits = [Hit(item["item_id"], score, item["title"] or "") for item, (_, score) in zip(named, answers, strict=True)]
    return [hit for hit in hits if hit.item_id != query.item][: query.k]


def _raw(query: Query) -> dict[Modality, bytes | Text]:
    from pipeline.encoders.base import Text

    raw: dict[Modality, bytes | Text] = {}
    if query.text is not None:
        raw["text"] = Text({"text": query.text}, query=True)
    if query.image is not None:
        raw["image"] = _read(query.image)
    if query.audio is not None:
        raw["audio"] = _read(query.audio)
    return raw


def _content_of(index: Published, content: faiss.Index, item_id: str) -> Floats:
    from pipeline.serving.faiss_index import vector_of

    rows = index.rows_of([item_id])
    if not rows:
        raise ConfigError(f"--item {item_id}: not in the published index")
    if not index.at_rows(rows, ["has_content"])["has_content"][0].as_py():
        raise ConfigError(f"--item {item_id}: it has no content to be compared by")
    return vector_of(content, rows[0])


def _encode(index: Published, raw: dict[Modality, bytes | Text]) -> Floats:
    """The query's place in the fused space, by the encoders and weights that the index was made with."""
    from pipeline.artefacts.fused import WEIGHTS
    from pipeline.config import MODALITIES, Config, Extract
    from pipeline.encoders import Prepared, make
    from pipeline.fusion.saved import load

    folder, made_with = index.folder, index.encoders
    settings = {modality: made["settings"] for modality, made in made_with.items()}
    config = Config(extract=Extract.model_validate(dict.fromkeys(MODALITIES) | settings))
    vectors: dict[Modality, Floats] = {}
    for modality, value in raw.items():
        if modality not in made_with:
            raise ConfigError(
                f"--{modality}: the published index was made without {modality}; "
                f"it has {', '.join(made_with) or 'no modality'}"
            )
        if (extract := made_with[modality]["settings"])["encoder"] == "array":
            raise ConfigError(
                f"--{modality}: the published index has its vectors from {extract['file']}, and nothing makes one of a "
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


def _decode(encoder: Encoder, value: bytes | Text, modality: str) -> Input:
    try:
        return encoder.decode(value)
    except MediaError as error:
        raise MediaError(f"--{modality}: {error}") from None


def _read(path: Path) -> bytes:
    from pipeline.media import read_media

    return read_media(path.parent, path.name, 200_000_000)
