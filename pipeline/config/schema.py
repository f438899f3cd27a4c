"""Walking the configuration: every setting by its dotted path."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache

from pipeline.config.base import OPERATOR, Schema, Section
from pipeline.config.encoders import encoders_of
from pipeline.config.fuse import FUSIONS, Fuse
from pipeline.config.sections import Config
from pipeline.config.shared import EncoderSettings
from pipeline.config.train import RECOMMENDERS, TrainSettings


def leaves(section: Section | None = None, prefix: str = "", members: bool = False) -> Iterator[tuple[str, Schema]]:
    """Yields every setting of a configuration, by default the default one, as its dotted path and its JSON schema.

    The schema has the setting's value as `default`, and its `description`. Where a section is one of several
    kinds, the settings are those of the kind in use, and the schema of the key that chooses it lists every kind.
    members: whether a list of sections, such as a blend's members, gives each one's settings by its place, not itself.
    """
    section = section or Config()
    for name, schema in _properties(type(section)).items():
        value = getattr(section, name)
        path = f"{prefix}{name}"
        if isinstance(value, Section):
            yield from leaves(value, f"{path}.", members)
        elif members and isinstance(value, tuple) and value and isinstance(value[0], Section):
            for place, member in enumerate(value):
                yield from leaves(member, f"{path}.{place}.", members)
        elif "$ref" not in json.dumps(schema) or isinstance(value, tuple):
            kinds = _kinds(section, path)
            chosen = {"enum": kinds, "type": "string", **OPERATOR} if kinds else schema
            yield path, {**chosen, "default": section.model_dump(mode="json")[name]}
    for name, further in (section.model_extra or {}).items():
        if isinstance(further, Section):
            yield from leaves(further, f"{prefix}{name}.", members)


def _kinds(section: Section, path: str) -> list[str]:
    *_, parent, name = ["", *path.split(".")]
    if name == "model" and isinstance(section, TrainSettings):
        return RECOMMENDERS.names()
    if name == "kind" and isinstance(section, Fuse):
        return FUSIONS.names()
    return encoders_of(parent).names() if name == "encoder" and isinstance(section, EncoderSettings) else []


@cache
def _properties(section: type[Section]) -> dict[str, Schema]:
    properties: dict[str, Schema] = section.model_json_schema()["properties"]
    return properties
