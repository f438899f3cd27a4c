"""The contract of an export."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from pipeline.config.base import Section
from pipeline.config.kinds import Registry
from pipeline.errors import ConfigError
from pipeline.exports.contents import Contents
from pipeline.interactions import Floats
from pipeline.workspace import Json

EXPORTS = Registry("medley.exports", "pipeline.exports.kinds", "pipeline.exports.base:Export")
# Where a server is, with its password; it stands in no file and no message.
URI_VARIABLE = "MEDLEY_EXPORT_URI"
# How many of a user's items are compared.
DEPTH = 10
# A digest, as `pipeline.workspace.digest` writes it: nothing that is named otherwise is an export's to remove.
DIGEST = re.compile(r"[0-9a-f]{20}")


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


def server_uri(example: str) -> str:
    """The address in MEDLEY_EXPORT_URI. Raises ConfigError if it is not set."""
    uri = os.environ.get(URI_VARIABLE)
    if not uri:
        raise ConfigError(f"set {URI_VARIABLE} to where the server is, such as {example}")
    return uri
