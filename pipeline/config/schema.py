"""Walking the configuration: every setting by its dotted path, and the place that an error speaks of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache

from pydantic import BaseModel

from pipeline.config.base import MODALITIES, Schema, Section
from pipeline.config.encoders import kinds_of
from pipeline.config.fuse import FUSIONS, Fuse
from pipeline.config.sections import Config


def leaves(section: Section | None = None, prefix: str = "") -> Iterator[tuple[str, Schema]]:
    """Yields every setting of a configuration, by default the default one, as its dotted path and its JSON schema.

    The schema has the setting's value as `default`, and its `description`. Where a section is chosen by its `encoder`
    key, the settings are those of the kind in use, and that key's schema lists every kind.
    """
    section = section or Config()
    for name, schema in _properties(type(section)).items():
        value = getattr(section, name)
        path = f"{prefix}{name}"
        if isinstance(value, Section):
            yield from leaves(value, f"{path}.")
        elif _is_plain(schema):
            kinds = _kinds(type(section), name)
            chosen = {"enum": kinds, "type": "string"} if kinds else schema
            yield path, {**chosen, "default": section.model_dump(mode="json")[name]}


def locate(location: tuple[int | str, ...]) -> tuple[str, type[BaseModel]]:
    """The dotted path of a validation error and the section that it lies in; kinds of encoders are no part of it."""
    section: type[BaseModel] = Config
    parts: list[str] = []
    for at, part in enumerate(location):
        if parts and parts[-1] in MODALITIES and parts[0] == "extract" and location[at - 1] == parts[-1]:
            section = kinds_of(parts[-1]).get(str(part), section)
            continue
        parts.append(str(part))
        section = _below(section, str(part)) or section
    return ".".join(parts), section


def _below(section: type[BaseModel], name: str) -> type[BaseModel] | None:
    field = section.model_fields.get(name)
    options = [field.annotation, *getattr(field.annotation, "__args__", ())] if field else []
    return next((option for option in options if isinstance(option, type) and issubclass(option, BaseModel)), None)


@cache
def _properties(section: type[Section]) -> dict[str, Schema]:
    found: dict[str, Schema] = section.model_json_schema()["properties"]
    return found


def _is_plain(schema: Schema) -> bool:
    return "$ref" not in json.dumps(schema)


def _kinds(section: type[Section], name: str) -> list[str]:
    if name == "kind" and issubclass(section, Fuse):
        return FUSIONS.names()
    if name != "encoder":
        return []
    for modality in MODALITIES:
        kinds = kinds_of(modality)
        if section in kinds.values():
            return list(kinds)
    return []
