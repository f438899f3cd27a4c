"""Settings as the page shows them: what is not the default, and what is another than on an earlier night.

Passwords and what else is secret are hidden, and long values are cut.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from pipeline.config import Config
from pipeline.config.differences import KINDS, defaults_of, differing, name_of, value_at
from pipeline.report.items import cut
from pipeline.source.passwords import without_secrets
from pipeline.storage.documents import Json

# Of a value: the page is of settings that people choose, not of queries that are written into the YAML.
MAX_LETTERS = 160


@dataclass(frozen=True)
class Setting:
    """A setting by its dotted path, its value, and another one; empty where there is none."""

    name: str
    value: str
    other: str


def not_default(config: Config) -> tuple[Setting, ...]:
    """The settings that are not the default, which is `other`: that of the kind in use, where a section has kinds."""
    now, default = config.model_dump(mode="json"), Config()
    kinds = changed(default.model_dump(mode="json"), now)
    return tuple(sorted({*kinds, *changed(defaults_of(config, default), now)}, key=lambda setting: setting.name))


def changed(before: Json, now: Json) -> tuple[Setting, ...]:
    """The settings that differ between two configurations, by name, `other` being the earlier value."""
    settings = []
    before, now = _by_kind(before), _by_kind(now)
    for path in differing(before, now):
        name = name_of(path, before, now)
        settings.append(Setting(name, *(_shown(name, value_at(path, document)) for document in (now, before))))
    return tuple(sorted(settings, key=lambda setting: setting.name))


def _by_kind(value: Any) -> Any:
    """A document whose lists of sections, such as a blend's members, are sections by their kind."""
    if isinstance(value, dict):
        return {name: _by_kind(own) for name, own in value.items()}
    kinds = [_kind(own) for own in value] if isinstance(value, list) else []
    return dict(zip(kinds, value, strict=True)) if all(kinds) and kinds else value


def _kind(value: object) -> str:
    """The kind of a section, empty if it is none that has kinds."""
    return next((str(value[kind]) for kind in KINDS if kind in value), "") if isinstance(value, dict) else ""


def _shown(name: str, value: JsonValue) -> str:
    """A value as text, of a section with kinds its kind; empty for nothing."""
    value = _kind(value) or value
    if value is None or isinstance(value, (int, float)):
        return "" if value is None else json.dumps(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return cut(without_secrets(name.rpartition(".")[2], text), MAX_LETTERS)
