"""The parts of a night's configuration."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self, cast

from pydantic import Field, model_validator

from pipeline.config.base import Section, Share, advanced, operator
from pipeline.config.encoders import Extract
from pipeline.config.fuse import FuseOfKind
from pipeline.config.rerank import Rerank
from pipeline.config.train import Baselines, Train
from pipeline.config.training import DEFAULT_METRIC
from pipeline.config.tune import Tune

StepName = Literal["ingest", "extract", "fuse", "train", "rerank", "evaluate", "index", "publish"]


class Source(Section):
    """Where the catalogue, the log and what is told of users come from: SQL queries, and the folder of media paths."""

    engine: Literal["duckdb", "postgresql"] = Field(
        "duckdb", description="duckdb reads CSV, JSON and Parquet; postgresql runs on the server of MEDLEY_SOURCE_URI"
    )
    items: str = Field("items.sql", description="a .sql file (beside this YAML, or below sql/sources/), or the SQL")
    interactions: str = Field("interactions.sql", description="likewise, for the log")
    users: str = Field("", description="likewise, for what users say of themselves (user_id, profile); none if empty")
    shown: str = Field("", description="likewise, for what users were shown (user_id, item_id, ts); none if empty")
    params: dict[str, str] = Field(default_factory=dict, description="values the queries read as getvariable('name')")
    media_root: str = Field(
        "",
        description="folder, or s3://bucket/prefix, that image and audio paths are relative to; params.root if empty",
    )


class Ingest(Section):
    """Staging: cleaning, buckets and the split."""

    rows_per_bucket: int = advanced(4096, "sets the number of buckets at the first run; kept after", ge=1)
    min_user_interactions: int = operator(1, "k-core: users with fewer interactions are dropped", ge=1)
    min_item_interactions: int = operator(0, "k-core: the log of items with fewer is dropped", ge=0)
    split: Literal["time", "leave_last_out", "given"] = Field(
        "time", description="two cut times, each user's last two, or what the query returns as `part`"
    )
    validation_share: Share = Field(0.1, description="time split: share of the log, by time, that is validation")
    test_share: Share = Field(0.1, description="time split: share of the log, by time, that is test")
    cold_item_share: Share = operator(
        0.1, "share of items held out of the evaluated training; of a given split, those never in train"
    )
    trust_times: bool = Field(
        True, description="a media file whose name, size and time of change are known is not read again"
    )
    warn_only: tuple[str, ...] = operator((), "names of sql/checks/assert_*.sql that warn and do not stop")


# Settings of baselines that stood in `evaluate` itself.
_BASELINES_ONCE = {
    "popularity": ("half_life_days",),
    "item_knn": ("neighbours", "shrink"),
    "rp3beta": ("alpha", "beta", "neighbours"),
    "ease": ("regularization", "max_items"),
    "als": ("factors", "iterations", "regularization", "alpha"),
}
BASELINES = ("random", "popularity", "item_knn", "rp3beta", "ease", "als")


class Evaluate(Section):
    """Full ranking over all items; where a baseline's setting has several values, validation chooses."""

    moved: ClassVar[dict[str, str]] = {
        f"{model}_{name}": f"`{{model: {model}, {name}: VALUE}}` in evaluate.baselines"
        for model, names in _BASELINES_ONCE.items()
        for name in names
    }

    cutoffs: tuple[int, ...] = Field((5, 10, 20, 50), min_length=1)
    users: int = advanced(20_000, "of the test, a seeded sample if there are more; items are never sampled", ge=1)
    validation_users: int = advanced(
        5_000, "of the validation part, likewise: epochs, settings and weights are chosen on them", ge=1
    )
    settled_nights: int = advanced(
        7,
        "that settings which validation chose from a grid are kept for, train's and baselines'; meanwhile, baselines "
        "that another was better than are not measured, but for the gate's own; 0 for none",
        ge=0,
    )
    baseline_seconds: float = advanced(
        1800, "longest fit of a baseline; one that takes longer is left out, and the report says so", gt=0
    )
    bootstrap_samples: int = advanced(1000, "resamples of users behind each 95 % interval", ge=10)
    cold_user_choices: int = advanced(5, "segment cold_users: at most so many choices in training", ge=0)
    window_choices: int = Field(
        10, ge=1, le=1000, description="segment co_choice: choices of a user this many apart at most count as together"
    )
    head_choice_share: Share = advanced(0.5, "segment head: the most chosen items, with this share of choices")
    ablation: Literal["off", "inference", "refit"] = operator(
        "inference", "score again without one modality's content; refit: train again without it"
    )
    baselines: Baselines = Field(
        default_factory=cast(Any, lambda: tuple({"model": name} for name in BASELINES)),
        description="models that the trained one is measured beside, each with its own settings",
    )


class Index(Section):
    """The FAISS index and the latency it must meet."""

    max_latency_ms: float = operator(
        10, "of one query by one thread, the 99th percentile, counted; exact search while it meets this", gt=0
    )
    min_recall: Share = operator(0.99, "recall@10 against exact search that an approximate index must reach")
    memory_bytes: int = advanced(8 << 30, "of one index at most; vectors are compressed where they need more", ge=1)
    queries: int = advanced(1000, "users that an index is tuned and measured with, half of them each", ge=1)
    recommendations: int = operator(20, "items of each user in recommendations.parquet, at most", ge=1)


STRONGEST = "strongest"
GateRule = Literal[
    "quality",
    "index_recall",
    "index_latency",
    "as_of",
    "metric",
    "coverage",
    "items",
    "users",
    "interactions",
    "newest_event",
    "missing",
    "lists",
    "log_age",
]


class Gate(Section):
    """What must hold before the published index is replaced."""

    moved: ClassVar[dict[str, str]] = {
        "refuse_worse": "`baseline: popularity` for false, and nothing for true, as `strongest` is the default,"
    }

    metric: str = operator(DEFAULT_METRIC, "a metric at one of evaluate.cutoffs")
    segment: str = operator("all", "a segment that is measured, see evaluation")
    baseline: str = operator(
        STRONGEST, "a model of evaluate.baselines, or the strongest of them on validation, which chance is allowed for"
    )
    min_ratio: float = operator(1.0, "the model's mean must exceed this times the baseline's", ge=0)
    min_index_recall: Share = operator(0.98, "recall@10 of the index against exact search, which chance is allowed for")
    min_published_ratio: float = operator(
        0.8, "against what is published: of the metric, which chance is allowed for, and of coverage", ge=0
    )
    min_rows_ratio: float = operator(0.5, "against what is published: of items, of users and of interactions", ge=0)
    max_missing_rise: Share = advanced(
        0.2, "against what is published: more of the items that have no vector, by modality"
    )
    max_lists_changed: Share = advanced(
        1.0, "against what is published: users whose first 10 items are others; 1 for no limit"
    )
    max_log_age_days: float = Field(
        3,
        gt=0,
        description="age of the newest interaction at `as of`, and how far it may lie before what is published",
    )
    warn_only: tuple[GateRule, ...] = Field(
        ("coverage", "lists", "log_age"), description="rules that warn where they do not hold, and refuse nothing"
    )


class Publish(Section):
    """The gate, and what the workspace keeps."""

    gate: Gate = Gate()
    keep_runs: int = Field(7, ge=1, description="published runs; older ones, and what only they name, are swept")
    keep_failed_runs: int = advanced(3, "likewise, runs that failed or that the gate refused", ge=0)
    grace_seconds: int = advanced(
        86_400, "how long an index stays after another was published: its readers may be at it", ge=0
    )


class Nightly(Section):
    """What the scheduler needs to know."""

    schedule: str = Field("@daily", description="cron expression or preset")
    retries: int = Field(2, ge=0)
    retry_delay_seconds: int = advanced(60, ge=0)
    timeout_seconds: int = Field(43_200, ge=1, description="longest time of a step; its process ends a minute later")
    task_seconds: float = advanced(60.0, "about how long a task is, where a step is cut into several", gt=0)
    queues: dict[StepName, Annotated[str, Field(min_length=1)]] = advanced(
        {}, "steps to the Celery queues whose workers run them, as {train: gpu}; Airflow's default for the others"
    )


class Config(Section):
    """A night's configuration."""

    moved: ClassVar[dict[str, str]] = {"ranker": "`rerank: {SETTINGS}`"}

    name: str = Field("medley", description="shown in reports")
    note: str = Field("", description="shown in reports, for instance that the data are synthetic")
    workspace: str = Field(
        "workspace", description="folder of everything Medley writes, relative to this file; or s3://bucket/prefix"
    )
    seed: int = Field(0, ge=0)
    threads: int = operator(0, "compute threads of one step; 0 for the number of cores", ge=0)
    source: Source = Source()
    ingest: Ingest = Ingest()
    extract: Extract = Field(default_factory=Extract)
    fuse: FuseOfKind = Field({}, validate_default=True)
    train: Train = Field(default_factory=cast(Any, dict), description="the recommender that is evaluated and published")
    tune: Tune = Tune()
    rerank: Rerank = Rerank()
    evaluate: Evaluate = Field(default_factory=Evaluate)
    index: Index = Index()
    publish: Publish = Publish()
    nightly: Nightly = Nightly()

    @model_validator(mode="after")
    def _content_is_there(self) -> Self:
        if self.train.model == "content" and not self.extract.modalities():
            raise ValueError("train.model content recommends by what items are, and extract has no modality")
        return self

    @model_validator(mode="after")
    def _baseline_is_measured(self) -> Self:
        measured = [settings.model for settings in self.evaluate.baselines]
        if self.publish.gate.baseline not in (STRONGEST, *measured):
            raise ValueError(
                f"publish.gate.baseline {self.publish.gate.baseline} is no model of evaluate.baselines, "
                f"which are {', '.join(measured)}, nor `{STRONGEST}`"
            )
        return self

    @property
    def baseline(self) -> str:
        """The gate's baseline by its name; for `strongest`, the one that stands in where validation chooses none."""
        if self.publish.gate.baseline != STRONGEST:
            return self.publish.gate.baseline
        measured = [settings.model for settings in self.evaluate.baselines]
        return "popularity" if "popularity" in measured or not measured else measured[0]
