"""Reading the YAML file and overrides into the models; an unknown key or a wrong value is named."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue, ValidationError

from pipeline.config.gate import refuse_unmeasured
from pipeline.config.sections import Config
from pipeline.config.train import RECOMMENDERS, TrainSettings
from pipeline.config.yaml_text import parsed
from pipeline.errors import ConfigError

log = logging.getLogger("medley")


def load(path: Path, overrides: tuple[str, ...] = ()) -> Config:
    """Reads a YAML file and applies `key.path=value` overrides.

    Relative paths in the file start at its folder; those in overrides, at the working directory.

    Raises ConfigError if the file is missing, is not YAML that `parsed` takes, or holds an unknown key or a wrong
    value, or a gate that asks for what is not measured.
    """
    document = _read_yaml(path)
    values: dict[str, JsonValue] = {}
    for key, value in assignments(overrides).items():
        if key in _PATHS and value and "://" not in str(value):
            value = os.path.abspath(str(value))
        if key.endswith(".weights"):
            value = _absolute(value, Path())
        _set(values, key, value)
    _rebase(document, path.parent)
    try:
        config = Config.model_validate(_merge(_with_lists(_of_the_same_kind(document, values), values), values))
        refuse_unmeasured(config)
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain(error)}") from None
    return config


def assignments(overrides: Sequence[str]) -> dict[str, JsonValue]:
    """The values of `key=value` options, each as YAML. Raises ConfigError if one is not written so."""
    values: dict[str, JsonValue] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"-s {override}: write it as key.path=value")
        values[key] = parsed(text, f"-s {key}") if text else ""
    return values


def _read_yaml(path: Path) -> dict[str, JsonValue]:
    try:
        document = parsed(path.read_bytes(), str(path))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give the path of a medley.yaml with -c") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"{path}: expected keys and values at the top level, found {type(document).__name__}")
    return document


_PATHS = ("workspace", "source.media_root", "source.params.root")


def _rebase(document: dict[str, JsonValue], folder: Path) -> None:
    for key in _PATHS:
        *parents, last = key.split(".")
        node: JsonValue = document
        for parent in parents:
            node = node.get(parent) if isinstance(node, dict) else None
        if isinstance(node, dict) and isinstance(node.get(last), str) and node[last] and "://" not in str(node[last]):
            node[last] = os.path.abspath(folder / str(node[last]))
    document.setdefault("workspace", os.path.abspath(folder / "workspace"))
    extract = document.get("extract")
    for encoder in extract.values() if isinstance(extract, dict) else ():
        if isinstance(encoder, dict) and "weights" in encoder:
            encoder["weights"] = _absolute(encoder["weights"], folder)
    source = document.get("source")
    for query in ("items", "interactions", "users", "shown"):
        name = source.get(query) if isinstance(source, dict) else None
        if isinstance(source, dict) and isinstance(name, str) and name.endswith(".sql") and (folder / name).is_file():
            source[query] = os.path.abspath(folder / name)


def _absolute(weights: JsonValue, folder: Path) -> JsonValue:
    """Weights given as `path:` made independent of the working directory."""
    if not isinstance(weights, str) or not weights.startswith("path:"):
        return weights
    return "path:" + os.path.abspath(folder / weights.removeprefix("path:"))


def _set(tree: dict[str, JsonValue], key: str, value: JsonValue) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        child = tree.setdefault(parent, {})
        if not isinstance(child, dict):
            raise ConfigError(f"-s {key}: {parent} is a value already, not a section")
        tree = child
    tree[last] = value


def _merge(base: dict[str, JsonValue], over: dict[str, JsonValue]) -> dict[str, JsonValue]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, list) and isinstance(value, dict):
            numbered = _merge({str(place): element for place, element in enumerate(below)}, value)
            merged[key] = list(numbered.values())
        else:
            merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _with_lists(document: dict[str, JsonValue], values: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """The file, with the default models where an override sets one of them by its place and the file lists none."""
    for name, models in (("train", "members"), ("evaluate", "baselines")):
        section, over = document.get(name) or {}, values.get(name)
        if isinstance(section, dict) and isinstance(over, dict) and isinstance(over.get(models), dict):
            chosen = _merge(section, {key: value for key, value in over.items() if key != models})
            default = Config.model_validate({name: chosen}).model_dump(mode="json")[name].get(models)
            document = {**document, name: {models: default, **section}}
    return document


def _of_the_same_kind(document: dict[str, JsonValue], values: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """The file, where an override chooses another recommender, without the settings of the one that it has.

    Whose they were they do not suit: what is a good learning rate of one model is none of another.
    """
    section, over = document.get("train"), values.get("train")
    if not isinstance(section, dict) or not isinstance(over, dict) or "model" not in over:
        return document
    if over["model"] == section.get("model", RECOMMENDERS.default):
        return document
    dropped = [key for key in section if key not in TrainSettings.model_fields]
    if dropped:
        log.warning(
            "train.model is %s by -s: the file's train.%s do not count", over["model"], ", train.".join(dropped)
        )
    return {**document, "train": {key: value for key, value in section.items() if key not in dropped}}


def explain(error: ValidationError) -> str:
    """One line: the dotted path of the first wrong value, what is wrong with it, and what was found."""
    first = error.errors()[0]
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "unknown":
        return f"unknown key {where}; {first['msg']}{more}"
    if first["type"] in ("kind", "moved"):
        return f"{where}: {first['msg']}{more}"
    if first["type"] == "value_error":
        said = str(first["ctx"]["error"])
        return f"{where}: {said}{more}" if where else f"{said}{more}"
    return f"{where}: {first['msg']}, found {first['input']!r}{more}"
