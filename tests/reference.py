"""The reference of settings, made from the configuration's own models."""

from __future__ import annotations

import json
from collections.abc import Iterator

from pipeline.config import Schema, Section, kinds_of, leaves
from pipeline.config.fuse import FUSIONS, Fuse
from pipeline.config.train import RECOMMENDERS, TrainSettings
from tests.conftest import ROOT

PAGE = ROOT / "pipeline" / "config" / "README.md"
HEAD = """# Settings

Every setting with its default. `-s key.path=value` goes over any of them; an unknown key or a wrong value is named,
with what is allowed. First what a night has whatever its kinds are; then [each kind's own](#kinds); then what hardly
anyone needs, [advanced](#advanced). Written by `python -m tests.test_documents`.
"""
REQUIRED = {"own": {"entry_point": "NAME"}, "array": {"file": "FILE"}}


def kinds() -> Iterator[tuple[str, str, Section]]:
    """Dotted path of a section that has kinds, a kind's name, and its settings at their defaults."""
    for modality in ("text", "image", "audio"):
        for name, model in kinds_of(modality).items():
            yield f"extract.{modality}", name, model.model_validate({"encoder": name, **REQUIRED.get(name, {})})
    for name in FUSIONS.names():
        yield "fuse", name, FUSIONS.find(name).Settings()
    for name in RECOMMENDERS.names():
        yield "train", name, RECOMMENDERS.find(name).Settings()


def reference() -> str:
    """The whole page."""
    own = {path for prefix, _, settings in kinds() for path in own_paths(prefix, settings)}
    common = [(path, schema) for path, schema in leaves() if path not in own]
    advanced = {path: schema for path, schema in common if schema.get("advanced")}
    lines = [HEAD, *table([(path, schema) for path, schema in common if path not in advanced]), "", "## Kinds", ""]
    for prefix, name, settings in kinds():
        key = {"fuse": "kind", "train": "model"}.get(prefix, "encoder")
        rows = [(path, schema) for path, schema in own_leaves(prefix, settings) if not schema.get("advanced")]
        advanced |= {f"{path}` of `{name}": s for path, s in own_leaves(prefix, settings) if s.get("advanced")}
        lines += [f"### `{prefix}.{key}: {name}`", "", *(table(rows) if rows else ["No settings of its own."]), ""]
    return "\n".join([*lines, "## Advanced", "", *table(list(advanced.items())), ""])


def own_leaves(prefix: str, settings: Section) -> list[tuple[str, Schema]]:
    """The settings that a kind has and not every other of its section."""
    paths = own_paths(prefix, settings)
    return [(path, schema) for path, schema in leaves(settings, f"{prefix}.") if path in paths]


def own_paths(prefix: str, settings: Section) -> set[str]:
    common = {"fuse": Fuse, "train": TrainSettings}.get(prefix, Section).model_fields
    names = set(type(settings).model_fields) - set(common) - {"encoder"}
    return {
        path for path, _ in leaves(settings, f"{prefix}.") if path.removeprefix(f"{prefix}.").split(".")[0] in names
    }


def table(rows: list[tuple[str, Schema]]) -> list[str]:
    """A Markdown table of settings."""
    cells = [f"| `{path}` | `{shown(schema['default'])}` | {meaning(schema)} |" for path, schema in rows]
    return ["| setting | default | what it is |", "|---|---|---|", *cells]


def shown(value: object) -> str:
    """A default as YAML would have it; of a list of kinds, their names."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        value = [entry.get("model", entry) for entry in value]
    return json.dumps(value, ensure_ascii=False)


def meaning(schema: Schema) -> str:
    """A setting's description, and what may stand there."""
    types = {
        "boolean": "true or false",
        "integer": "whole number",
        "number": "number",
        "array": "list",
        "object": "keys and values",
        "string": "text",
    }
    choices = [schema["const"]] if "const" in schema else schema.get("enum", [])
    kind = " or ".join(f"`{choice}`" for choice in choices) or types[schema.get("type", "object")]
    described = schema.get("description")
    return f"{described} ({kind})" if described and choices else described or kind
