"""A recommender of the user's own package goes through a night like Medley's, and the page of kinds is true."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import Config
from pipeline.config.rerank import Rerank
from pipeline.config.train import RECOMMENDERS
from pipeline.explain.explain import Question, explain
from pipeline.fusion.kinds.linear import LinearSettings
from pipeline.recommend import kind_of
from pipeline.steps import evaluate, fuse, rerank, train
from pipeline.steps.warm_start import Plan
from tests.conftest import ROOT
from tests.documents import block
from tests.packages import upgrade
from tests.planted_night import CONFIG, planted_night, publish

PAGE = (ROOT / "pipeline/recommend/README.md").read_text("utf-8")
FUSE_OTHERWISE = LinearSettings(width=8)
EXAMPLE = block("own recommender")


@pytest.fixture
def installed(install: Callable[..., Path]) -> Path:
    """The folder of the example, as if it were installed."""
    return install("acme_recommenders", EXAMPLE, "[medley.recommenders]\nacme_axes = acme_recommenders:Axes\n")


def config(**settings: object) -> Config:
    chosen = {"train": RECOMMENDERS.read({"model": "acme_axes", **settings}), "rerank": Rerank(enabled=False)}
    return CONFIG.model_copy(update=chosen)


def test_the_example_of_the_page_is_trained_judged_published_and_explained(installed: Path, tmp_path: Path) -> None:
    assert len([line for line in EXAMPLE.splitlines() if line.strip()]) <= 30
    night = planted_night(tmp_path / "workspace", config(width=12))
    fuse.run(night)
    first = train.run(night)
    rerank.run(night)
    evaluate.run(night)
    trained = train.read(night)
    assert trained.details.model == "acme_axes"
    assert trained.published.items()[1].shape[1] == 12
    metrics = night.workspace.read_json(f"{night.folder}/metrics.json")
    assert metrics is not None
    models = metrics["test"]["all"]
    assert models["acme_axes"]["ndcg@10"]["mean"] > models["random"]["ndcg@10"]["mean"]
    publish(night)
    users, vectors = trained.published.users()
    user = users[int(np.flatnonzero(vectors.any(axis=1))[0])]
    told = explain(tmp_path / "workspace", Question(trained.published.items()[0][0], user)).as_json()["first_stage"]
    assert told["score"] == pytest.approx(told["history"]["base"] + sum(c["share"] for c in told["history"]["choices"]))
    assert train.run(night).skipped
    upgrade(installed)
    assert train.run(night).digest != first.digest


def test_an_own_recommender_takes_its_own_settings_alone(installed: Path) -> None:
    assert "acme_axes" in RECOMMENDERS.names()
    assert Config.model_validate(config(width=3).model_dump(mode="json")).train == config(width=3).train
    with pytest.raises(ValueError, match=r"allowed here: .*width"):
        RECOMMENDERS.read({"model": "acme_axes", "heads": 2})


def test_the_page_lists_every_kind_as_it_speaks_of_itself() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| kind")]
    kinds = {name: kind_of(name) for name in RECOMMENDERS.names()}
    published = {True: "yes", False: "no"}
    expected = [f"| {n} | {k.title} | {k.purpose} | {published[k.vectors]} |" for n, k in kinds.items()]
    assert rows == expected


def test_a_setting_or_an_input_that_a_model_does_not_read_changes_no_digest(tmp_path: Path) -> None:
    night = planted_night(tmp_path / "workspace")
    fuse.run(night)
    other = replace(night, run_id="other", config=night.config.model_copy(update={"fuse": FUSE_OTHERWISE}))
    for step in (night.workspace.path(night.folder, "steps")).glob("[ei]*.json"):
        name = step.relative_to(night.workspace.path(night.folder)).as_posix()
        other.workspace.write_json(f"{other.folder}/{name}", night.workspace.read_json(f"{night.folder}/{name}"))
    fuse.run(other)

    def key(model: str, of: object = night, **changes: object) -> str:
        chosen = RECOMMENDERS.read({"model": model, **changes})
        config = of.config.model_copy(update={"train": chosen})  # type: ignore[attr-defined]
        return train._key(replace(of, config=config), 1, Plan(chosen, {}))  # type: ignore[type-var]

    def seeded(seed: int) -> object:
        return replace(night, config=night.config.model_copy(update={"seed": seed}))

    for model in ("lightgcn", "bpr", "als", "elsa", "graph"):
        assert key(model) == key(model, other), model
    for model in ("two_tower", "sequence", "content"):
        assert key(model) != key(model, other), model
    assert key("content") == key("content", seeded(7))
    assert key("elsa") != key("elsa", seeded(7))
    running = {"tensorboard": False, "checkpoint_seconds": 1, "processes": 2, "warm_start": True}
    assert key("elsa") == key("elsa", **running)
    assert key("elsa") != key("elsa", neighbours=9)
    elsewhere = night.config.model_copy(update={"rerank": Rerank(hidden=7), "name": "other"})
    assert key("elsa") == key("elsa", replace(night, config=elsewhere))
