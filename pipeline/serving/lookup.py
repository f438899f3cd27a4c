"""Lookup: one question to the published index, as the command line asks it, see `pipeline.serving.index`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ConfigError, MediaError
from pipeline.serving.answer import Answer
from pipeline.serving.index import Index

NOTHING = "ask for --user, or for any of --item, --text, --image and --audio; -k is 1 or more"
OPTIONS = ("user", "history", "item", "text", "image", "audio", "filter")


@dataclass(frozen=True)
class Query:
    """What is asked for: a user or a history, any of an item, a text, a picture and a clip, or both together.

    filter: conditions as `NAME=VALUE`, see `conditions`.
    """

    user: str | None = None
    item: str | None = None
    text: str | None = None
    image: Path | None = None
    audio: Path | None = None
    k: int = 10
    history: tuple[str, ...] = ()
    filter: tuple[str, ...] = ()

    def given(self) -> dict[str, str]:
        """What was asked for, by name, as text."""
        named = {"user": self.user, "item": self.item, "text": self.text, "image": self.image, "audio": self.audio}
        return {name: str(value) for name, value in named.items() if value is not None}


def ask(workspace: Path, query: Query) -> Answer:
    """Answers a query from the published index.

    Raises ConfigError if the query names nothing, or something that is not there; MediaError if its picture or clip
    cannot be read.
    """
    if not (query.given() or query.history) or query.k < 1:
        raise ConfigError(NOTHING)
    index, history, filter = Index.open(workspace, once=True), query.history or None, conditions(query.filter)
    content = {"item": query.item, "text": query.text, "image": query.image, "audio": query.audio}
    try:
        if all(value is None for value in content.values()):
            return index.recommend(query.user, history, query.k, filter=filter)
        person = {"user": query.user, "history": history}
        return index.search(**content, **person, k=query.k, filter=filter)  # type: ignore[arg-type]
    except (ConfigError, MediaError) as error:
        # The index names the argument at fault, which here is an option.
        argument = str(error).split()[0].rstrip(":")
        raise type(error)(f"--{error}" if argument in OPTIONS else str(error)) from None


def conditions(written: Sequence[str]) -> dict[str, object]:
    """`NAME=VALUE`, several of one name for any of them, or `NAME=LOW..HIGH`, as `pipeline.serving.filters` reads them.

    Raises ConfigError if one is neither.
    """
    filter: dict[str, object] = {}
    for condition in written:
        name, equals, value = condition.partition("=")
        if not (name and equals):
            raise ConfigError(f"--filter {condition}: write NAME=VALUE, or NAME=LOW..HIGH with an end left out")
        low, dots, high = value.partition("..")
        earlier = filter.get(name)
        values = [*earlier, value] if isinstance(earlier, list) else [value]
        filter[name] = (low or None, high or None) if dots else values
    return filter
