"""The parts of a night's configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.config.audio import MfccAudio
from pipeline.config.base import OPERATOR, Grid, Section, Share
from pipeline.config.blend import Blend
from pipeline.config.encoders import AudioEncoder, ImageEncoder, TextEncoder
from pipeline.config.fuse import FuseOfKind
from pipeline.config.image import TimmImage
from pipeline.config.llm import Llm
from pipeline.config.pairwise import Bpr, Elsa, Graph, Pairwise, Svd
from pipeline.config.ranker import Ranker
from pipeline.config.sequence import Sequence
from pipeline.config.text import TransformerText
from pipeline.config.training import Imbalance, Schedule
from pipeline.config.tune import Tune


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
    media_root: str = Field("", description="folder that image and audio paths are relative to; params.root if empty")


class Ingest(Section):
    """Staging: cleaning, buckets and the split."""

    rows_per_bucket: int = Field(4096, ge=1, description="sets the number of buckets at the first run; kept after")
    min_user_interactions: int = Field(
        1, ge=1, description="k-core: users with fewer interactions are dropped", json_schema_extra=OPERATOR
    )
    min_item_interactions: int = Field(
        0, ge=0, description="k-core: the log of items with fewer is dropped", json_schema_extra=OPERATOR
    )
    split: Literal["time", "leave_last_out", "given"] = Field(
        "time", description="two cut times, each user's last two, or what the query returns as `part`"
    )
    validation_share: Share = Field(0.1, description="time split: share of the log, by time, that is validation")
    test_share: Share = Field(0.1, description="time split: share of the log, by time, that is test")
    cold_item_share: Share = Field(
        0.1,
        description="share of items held out of the evaluated training; of a given split, those never in train",
        json_schema_extra=OPERATOR,
    )
    warn_only: tuple[str, ...] = Field(
        (), description="names of sql/checks/assert_*.sql that warn and do not stop", json_schema_extra=OPERATOR
    )


class Extract(Section):
    """One encoder per modality; a modality set to null is not used."""

    text: TextEncoder | None = TransformerText()
    image: ImageEncoder | None = TimmImage()
    audio: AudioEncoder | None = MfccAudio()
    rows_per_task: int = Field(
        4096, ge=1, description="the scheduler maps one task over buckets of about this many rows"
    )


class Train(Schedule):
    """The recommender that is evaluated and published; what stands here itself is two_tower's."""

    model: Literal[
        "content", "two_tower", "sequence", "bpr", "vbpr", "lightgcn", "graph", "elsa", "svd", "llm", "blend"
    ] = "two_tower"
    width: int = Field(128, ge=2, description="dimensions of the towers, without what new items add")
    max_epochs: int = Field(60, ge=1)
    patience_epochs: int = Field(8, ge=1, description="stop after so many epochs without a better validation NDCG@10")
    evaluate_every: int = Field(1, ge=1, description="epochs from one look at the validation part to the next")
    averaging: float = Field(0.98, ge=0, lt=1, description="share of the served weights kept at every step")
    tensorboard: bool = Field(True, description="write every epoch's loss and NDCG@10 to runs/RUN_ID/tensorboard")
    warm_start: bool = Field(
        False, description="begin at the weights of the night that is published, matched by item and user"
    )
    checkpoint_seconds: float = Field(
        60, ge=0, description="longest time that a killed fit loses, but for the epoch that it was in"
    )
    processes: int = Field(
        1, ge=1, description="that fit the model together, a GPU each where there are any; bpr and svd take one"
    )
    batch_rows: int = Field(128, ge=1)
    moments_per_user: int = Field(8, ge=1, description="moments of a user's past that one epoch predicts from")
    targets: int = Field(5, ge=1, description="next choices that one moment predicts")
    target_fade: float = Field(0.7, gt=0, le=1, description="what each next choice counts, relative to the one before")
    negatives: int = Field(1024, ge=1, description="sampled items that every target of a batch is ranked against")
    in_batch_negatives: bool = Field(False, description="rank a target against the batch's other targets too")
    hard_negatives: int = Field(
        0, ge=0, description="and against so many items that last night's model would have recommended the user"
    )
    block_rows: int = Field(
        4_000_000, ge=1, description="interactions that are shuffled together; a longer log is read block by block"
    )
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(1e-2, ge=0)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    heads: int = Field(4, ge=1, description="ways of reading a history, from the last few choices to all of it")
    history_items: int = Field(50, ge=1, description="latest interactions the user tower reads")
    content_loss: float = Field(
        0.3, ge=0, description="weight of the loss with every id left out, which new items need"
    )
    new_item_cosine: float = Field(12.0, ge=0, description="weight of likeness to the user's choices, for new items")
    imbalance: Imbalance = Imbalance()
    bpr: Bpr = Bpr()
    pairwise: Pairwise = Pairwise()
    graph: Graph = Graph()
    elsa: Elsa = Elsa()
    svd: Svd = Svd()
    sequence: Sequence = Sequence()
    llm: Llm = Llm()
    blend: Blend = Blend()


class Evaluate(Section):
    """Full ranking over all items, never sampled; where a baseline's setting has several values, validation chooses."""

    cutoffs: tuple[int, ...] = Field((5, 10, 20, 50), min_length=1)
    bootstrap_samples: int = Field(
        1000, ge=10, description="resamples of users behind each 95 % interval", json_schema_extra=OPERATOR
    )
    cold_user_choices: int = Field(5, ge=0, description="segment cold_users: at most so many choices in training")
    window_choices: int = Field(
        10, ge=1, le=1000, description="segment co_choice: choices of a user this many apart at most count as together"
    )
    head_choice_share: Share = Field(0.5, description="segment head: the most chosen items, with this share of choices")
    ablation: Literal["off", "inference", "refit"] = Field(
        "inference",
        description="score again without one modality's content; refit: train again without it",
        json_schema_extra=OPERATOR,
    )
    popularity_half_life_days: Grid = Field((90, 10, 10_000), description="age at which a choice counts half")
    item_knn_neighbours: Grid = Field((200,), description="nearest items of each item")
    item_knn_shrink: Grid = Field((0, 10, 100), description="added to the norms, so that rare items are less alike")
    rp3beta_alpha: Grid = Field((1.0, 0.5), description="power of the steps' chances")
    rp3beta_beta: Grid = Field((0.3, 0.0, 0.6), description="power of popularity that scores are divided by")
    rp3beta_neighbours: Grid = Field((200,), description="likeliest items after each item")
    ease_regularization: Grid = Field((200, 50, 1000))
    ease_max_items: int = Field(10_000, ge=1, description="of more items, those most often chosen are looked at")
    als_factors: int = Field(64, ge=1)
    als_iterations: int = Field(15, ge=1)
    als_regularization: Grid = Field((20, 5, 1))
    als_alpha: Grid = Field((4, 10, 1), description="confidence given to an interaction")


class Index(Section):
    """The FAISS index and the latency it must meet."""

    max_latency_ms: float = Field(
        10,
        gt=0,
        description="95th percentile of one query; exact search while it meets this",
        json_schema_extra=OPERATOR,
    )
    min_recall: Share = Field(
        0.99,
        description="recall@10 against exact search that an approximate index must reach",
        json_schema_extra=OPERATOR,
    )
    queries: int = Field(200, ge=1, description="user vectors that latency and recall are measured with")
    recommendations: int = Field(
        20, ge=1, description="items of each user in recommendations.parquet, at most", json_schema_extra=OPERATOR
    )


class Gate(Section):
    """What must hold before the published index is replaced."""

    metric: str = Field("ndcg@10", description="a metric of metrics.json", json_schema_extra=OPERATOR)
    segment: str = Field("all", description="a segment of metrics.json", json_schema_extra=OPERATOR)
    baseline: Literal["popularity", "random", "item_knn", "rp3beta", "ease", "als"] = "popularity"
    min_ratio: float = Field(
        1.0, ge=0, description="the model's mean must exceed this times the baseline's", json_schema_extra=OPERATOR
    )
    min_index_recall: Share = Field(
        0.99, description="recall@10 of the index against exact search", json_schema_extra=OPERATOR
    )


class Publish(Section):
    """The gate, and how many runs the workspace keeps."""

    gate: Gate = Gate()
    keep_runs: int = Field(
        7, ge=1, description="older runs, and what only they name, are swept", json_schema_extra=OPERATOR
    )


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
    threads: int = Field(
        0, ge=0, description="compute threads of one step; 0 for the number of cores", json_schema_extra=OPERATOR
    )
    source: Source = Source()
    ingest: Ingest = Ingest()
    extract: Extract = Extract()
    fuse: FuseOfKind = Field({}, validate_default=True)
    train: Train = Train()
    tune: Tune = Tune()
    ranker: Ranker = Ranker()
    evaluate: Evaluate = Evaluate()
    index: Index = Index()
    publish: Publish = Publish()
    nightly: Nightly = Nightly()
