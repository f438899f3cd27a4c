"""Which settings differ: between two nights, and from what they are by default. Configurations as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import JsonValue, ValidationError

from pipeline.config.base import Section

# Keys that choose the kind of a section.
KINDS = ("model", "kind", "encoder")
Document = dict[str, Any]


def differing(before: Document, after: Document) -> Iterator[tuple[str, ...]]:
    """The paths of settings with another value, or in one of two documents alone; a section of another kind is one."""
    if any(before.get(kind) != after.get(kind) for kind in KINDS):
        yield ()
        return
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from ((name, *path) for path in differing(old, new))
        elif old != new or (name in before) != (name in after):
            yield (name,)


def name_of(path: tuple[str, ...], *documents: Document) -> str:
    """A setting's name; of a section of another kind, its kind's."""
    values = [value_at(path, document) for document in documents]
    kinds = [kind for kind in KINDS if all(isinstance(value, dict) and kind in value for value in values)]
    return ".".join([*path, *kinds])


def value_at(path: tuple[str, ...], document: Document) -> JsonValue:
    """A setting's value, None where there is none."""
    value: Any = document
    for name in path:
        value = value.get(name)
    return value


def defaults_of(section: Section, default: Section) -> Document:
    """What `default` says, and of its sections that are of another kind in `section`, what that kind does by default.

    Settings without a default are left out.
    """
    document = default.model_dump(mode="json")
    for name, value in section:
        other = getattr(default, name, None)
        if isinstance(value, Section) and isinstance(other, Section):
            same = type(value) is type(other)
            document[name] = defaults_of(value, other) if same else _plain(value)
    return document


def _plain(section: Section) -> Document:
    """A section of the same kind as it is by default; as it is, where that kind does not go without settings."""
    required = {name for name, field in type(section).model_fields.items() if field.is_required()}
    try:
        default = type(section).model_validate({name: getattr(section, name) for name in required})
    except ValidationError:
        default = section
    return {name: value for name, value in defaults_of(section, default).items() if name not in required}
