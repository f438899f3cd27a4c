"""The contract of an export."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import ClassVar, TypeVar
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.config.base import Section
from pipeline.config.kinds import Registry
from pipeline.errors import ConfigError, ExportFailed, MedleyError
from pipeline.exports.contents import Contents
from pipeline.interactions import Floats
from pipeline.source.passwords import without_password
from pipeline.storage.documents import Json

Row = TypeVar("Row")
EXPORTS = Registry("medley.exports", "pipeline.exports.kinds", "pipeline.exports.base:Export")
# Where a server is, with its password; it stands in no file and no message.
URI_VARIABLE = "MEDLEY_EXPORT_URI"
# How many of a user's items are compared.
DEPTH = 10
# A digest, as `pipeline.workspace.digest` writes it: nothing that is named otherwise is an export's to remove.
DIGEST = re.compile(r"[0-9a-f]{20}")
# An address of a host by number, which clients say even where the URI has a name.
NUMERIC = re.compile(r"\d+\.\d+\.\d+\.\d+(:\d+)?|\[?(?:[0-9a-fA-F]*:){2,7}[0-9a-fA-F]*\]?(:\d+)?")
MOST_SAID = 300


class ExportSettings(Section):
    """What every export has; a kind's own settings stand beside these."""

    kind: str = Field(description="the export")


class Export(ABC):
    """Sends what is published to one place. `stage`, then `lists` and `nearest` where it has them, then `switch`.

    Settings: its own. What it raises of a server is ExportFailed.
    """

    Settings: ClassVar[type[ExportSettings]]

    def __init__(self, settings: ExportSettings, contents: Contents) -> None:
        self.settings, self.contents = settings, contents

    @abstractmethod
    def stage(self) -> Json:
        """Writes everything beside what is served, under the index's digest; goes on where an earlier call stopped.

        Returns what to note, such as rows by table.
        """

    def lists(self, users: Sequence[str]) -> dict[str, list[str]] | None:
        """The first DEPTH items of some users' lists, as the place answers; None where it has no lists."""
        return None

    def nearest(self, users: pa.Table, vectors: Floats) -> list[list[str]] | None:
        """The DEPTH items with the highest inner products, without `seen`; None where the place searches no vectors.

        users: `user_id` and `seen`. vectors: (n, d) float32, theirs.
        """
        return None

    @abstractmethod
    def switch(self) -> None:
        """Makes what was staged what is served, at once; what was served before stays until the next switch.

        Where it is served already, nothing changes.
        """


def first_items(lists: pa.Table) -> dict[str, list[str]]:
    """The first DEPTH items of each user. lists: `user_id`, `rank` and `item_id`, each of them by rank."""
    table = lists.filter(pc.less_equal(lists["rank"], DEPTH))
    items: dict[str, list[str]] = {}
    for user, item in zip(table["user_id"].to_pylist(), table["item_id"].to_pylist(), strict=True):
        items.setdefault(user, []).append(item)
    return items


def exported(names: Iterable[str], prefix: str) -> list[str]:
    """Those of a place's names that an export made: the prefix and one whole digest, nothing before and behind."""
    return [name for name in names if name.startswith(prefix) and DIGEST.fullmatch(name[len(prefix) :])]


def batches(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    """Rows by `size`, fewer in the last."""
    rest = iter(rows)
    while batch := list(islice(rest, size)):
        yield batch


def missing(rows: Iterable[Row], size: int, count: int) -> Iterator[list[Row]]:
    """The batches that a place lacks of which it has `count` rows, those of the first batches, and some of the next.

    A batch that was sent in part is sent whole: what is there of it is not known.
    """
    sent = 0
    for batch in batches(rows, size):
        sent += len(batch)
        if sent > count:
            yield batch


def server_uri(example: str) -> str:
    """The address in MEDLEY_EXPORT_URI. Raises ConfigError if it is not set."""
    uri = os.environ.get(URI_VARIABLE)
    if not uri:
        raise ConfigError(f"set {URI_VARIABLE} to where the server is, such as {example}")
    return uri


@contextmanager
def client_errors(kind: str, uri: str) -> Iterator[None]:
    """Around the calls of a client: what it raises, or its transport does, becomes ExportFailed.

    uri: where the server is; empty for a client's embedded form.
    """
    try:
        yield
    except (MedleyError, MemoryError):
        raise
    except Exception as error:  # each client has errors of its own, and passes on those of what it is made of
        told = f"{type(error).__name__}: {said(error, uri)}"
        told = f"the server says: {told}; see {URI_VARIABLE}" if uri else told
        raise ExportFailed(f"export {kind}: {told}") from None


def said(error: Exception, uri: str) -> str:
    """What a client said, in one line that names neither the server's address nor its password."""
    text = " ".join(without_password(str(error), uri).split())
    try:
        place = urlsplit(uri)
        host, port = place.hostname or "", str(place.port or "")
    except ValueError:  # no URI at all, which is what the client may say
        return text[:MOST_SAID]
    if uri:
        text = NUMERIC.sub("HOST", text)
        for part, stands_for in ((host, "HOST"), (port, "PORT")):
            text = re.sub(rf"(?<!\w){re.escape(part)}(?!\w)", stands_for, text) if part else text
    return text[:MOST_SAID]
