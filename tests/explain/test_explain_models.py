"""Every model's scores are explained, by modality or by past choices, and the parts add up to what `lookup` says."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import Config
from pipeline.config.rerank import Rerank
from pipeline.explain.answer import ListedItem
from pipeline.explain.explain import Question, explain
from pipeline.night import Night
from pipeline.recommend import kind_of
from pipeline.serving.lookup import Query, ask
from pipeline.steps import fuse, rerank, train
from pipeline.workspace import Workspace
from tests.planted_night import CONFIG, LISTED, planted_night, publish

SMALL: dict[str, dict[str, Any]] = {
    "bpr": {"width": 8, "max_epochs": 3},
    "vbpr": {"width": 8, "content_width": 8, "max_epochs": 2},
    "lightgcn": {"width": 8, "max_epochs": 2},
    "graph": {"width": 8, "max_epochs": 3},
    "elsa": {"width": 8, "max_epochs": 2},
    "svd": {"widths": [8]},
    "sequence": {"width": 8, "max_epochs": 1},
    "llm": {
        "weights": "",
        "tuning": "full",
        "scratch": {"layers": 1, "width": 16, "heads": 2},
        "width": 8,
        "max_epochs": 1,
    },
    "two_tower": CONFIG.train.model_dump(),
    "als": {"factors": 8, "iterations": 3, "regularization": (5,), "alpha": (4,)},
    "popularity": {"half_life_days": (90,)},
}
BLENDED = ("graph", "elsa", "als", "popularity", "content")
SMALL["blend"] = {"members": [{"model": name, **SMALL.get(name, {})} for name in BLENDED]}
MODELS = ("content", *SMALL)
SUMS = ("content", "bpr", "vbpr", "lightgcn", "graph", "elsa", "svd", "blend", "als")
USER = "u3"


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """A planted night that has been fused; tests take a copy."""
    night = planted_night(tmp_path_factory.mktemp("fused") / "workspace", _config("content"))
    fuse.run(night)
    return night


def _config(model: str) -> Config:
    settings = kind_of(model).Settings(**SMALL.get(model, {}))
    return CONFIG.model_copy(update={"train": settings, "rerank": Rerank(enabled=False)})


def published(fused: Night, model: str, folder: Path) -> Path:
    """The workspace after a night with a model."""
    shutil.copytree(fused.workspace.root, folder)
    night = replace(fused, workspace=Workspace(folder), config=_config(model))
    train.run(night)
    rerank.run(night)
    publish(night)
    return folder


def _by_modality(found: dict[str, Any]) -> None:
    assert found["base"] + sum(found["contributions"].values()) == pytest.approx(found["score"], abs=1e-9)
    assert any(found["contributions"].values())


def _by_past(found: dict[str, Any], workspace: Path) -> None:
    past = found["history"]
    total = past["base"] + sum(one["share"] for one in past["choices"]) + sum(past["rest"].values())
    assert total == pytest.approx(found["score"], abs=1e-6)
    shares = [abs(one["share"]) for one in past["choices"]]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0
    assert {one["title"] for one in past["choices"]} == {f"Record {int(i['item_id'][1:])}" for i in past["choices"]}
    seen = explain(workspace, Question(past["choices"][0]["item_id"], USER)).as_json()
    assert seen["chosen"]


@pytest.mark.parametrize("model", MODELS)
def test_the_parts_of_every_model_add_up_to_the_score_of_lookup(fused: Night, model: str, tmp_path: Path) -> None:
    workspace = published(fused, model, tmp_path / "workspace")
    hits = ask(workspace, Query(user=USER, k=LISTED)).hits
    for hit in (hits[0], hits[-1]):
        told = explain(workspace, Question(hit.item_id, USER))
        document = json.loads(json.dumps(told.as_json()))
        assert document["score"] == pytest.approx(hit.score, abs=1e-6)
        assert document["reranked"] is None
        found = document["first_stage"]
        if kind_of(model).remade or model == "blend":
            _by_modality(found)
        else:
            assert found["base"] is found["contributions"] is found["values"] is None
        if model in SUMS:
            _by_past(found, workspace)
        else:
            assert found["history"] is None
        _is_said(told, found)
    pair = explain(workspace, Question(hits[0].item_id, other=hits[-1].item_id)).as_json()
    assert pair["base"] + sum(pair["contributions"].values()) == pytest.approx(pair["score"], abs=1e-9)
    assert "first_stage" not in pair


def _is_said(told: ListedItem, found: dict[str, Any]) -> None:
    lines = told.as_text().splitlines()
    for name, value in (found["contributions"] or {}).items():
        assert any(line.split()[:2] == [name, f"{value:+.4f}"] for line in lines)
    for one in (found["history"] or {"choices": []})["choices"][:5]:
        assert any(line.endswith(f"{one['item_id']} ({one['title']})") for line in lines)
        assert any(line.split()[0] == f"{one['share']:+.4f}" for line in lines)
    assert ("cannot be told" in lines[1]) == (found["contributions"] is None)
