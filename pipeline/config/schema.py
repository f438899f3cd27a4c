"""Walking the configuration: every setting by its dotted path, and the place that an error speaks of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache

from pipeline.config.base import MODALITIES, OPERATOR, Schema, Section
from pipeline.config.encoders import kinds_of
from pipeline.config.fuse import FUSIONS, Fuse
from pipeline.config.sections import Config
from pipeline.config.train import RECOMMENDERS, TrainSettings


def leaves(section: Section | None = None, prefix: str = "") -> Iterator[tuple[str, Schema]]:
    """Yields every setting of a configuration, by default the default one, as its dotted path and its JSON schema.

    The schema has the setting's value as `default`, and its `description`. Where a section is one of several
    kinds, the settings are those of the kind in use, and the schema of the key that chooses it lists every kind.
    """
    section = section or Config()
    for name, schema in _properties(type(section)).items():
        value = getattr(section, name)
        path = f"{prefix}{name}"
        if isinstance(value, Section):
            yield from leaves(value, f"{path}.")
        elif isinstance(value, tuple) and value and isinstance(value[0], Section):
            for place, element in enumerate(value):
                yield from leaves(element, f"{path}.{place}.")
        elif _is_plain(schema):
            kinds = _kinds(type(section), name)
            chosen = {"enum": kinds, "type": "string", **OPERATOR} if kinds else schema
            yield path, {**chosen, "default": section.model_dump(mode="json")[name]}


def locate(location: tuple[int | str, ...]) -> str:
    """The dotted path of a validation error; the kind of an encoder, which pydantic adds, is no part of it."""
    kind = 2 if location[0:1] == ("extract",) and len(location) > 2 and location[2] in _every_kind() else None
    return ".".join(str(part) for at, part in enumerate(location) if at != kind)


def _every_kind() -> set[str]:
    return {kind for modality in MODALITIES for kind in kinds_of(modality)}


@cache
def _properties(section: type[Section]) -> dict[str, Schema]:
    found: dict[str, Schema] = section.model_json_schema()["properties"]
    return found


def _is_plain(schema: Schema) -> bool:
    return "$ref" not in json.dumps(schema)


def _kinds(section: type[Section], name: str) -> list[str]:
    if name == "model" and issubclass(section, TrainSettings):
        return RECOMMENDERS.names()
    if name == "kind" and issubclass(section, Fuse):
        return FUSIONS.names()
    for modality in MODALITIES if name == "encoder" else ():
        kinds = kinds_of(modality)
        if section in kinds.values():
            return list(kinds)
    return []
