"""A newly published night is served without a failed query; one that cannot be opened changes nothing."""

from __future__ import annotations

import threading
from pathlib import Path

import httpx
import pytest

from pipeline.steps.rollback import run as roll_back
from pipeline.web import served
from pipeline.web.served import Serving
from pipeline.web.settings import Settings
from tests.conftest import Shop
from tests.web.conftest import answering


@pytest.fixture
def copy(web_shop: Shop, tmp_path: Path) -> Shop:
    return web_shop.copy(tmp_path / "shop")


def test_another_night_is_gone_over_to_under_questions(copy: Shop) -> None:
    settings = Settings(copy.workspace, refresh_seconds=0.1, rate="100000/second")
    serving = Serving(settings)
    before, answers, ended = serving.now.about.index, [], threading.Event()

    def asking(url: str) -> None:
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            while not ended.is_set():
                answer = client.post("/api/recommend", json={"user": "buyer-0001", "k": 5})
                answers.append((answer.status_code, answer.json().get("index")))

    with answering(serving, settings) as url, httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        threads = [threading.Thread(target=asking, args=(url,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        serving.keep_fresh()
        roll_back(copy.workspace, None)
        deadline = threading.Event()
        for _ in range(300):
            if client.get("/api/index").json()["run_id"] == "first":
                break
            deadline.wait(0.1)
        about = client.get("/api/index").json()
        someone = {"history": ["rec-0003"]}
        folded = client.post("/api/recommend", json=someone | {"k": 1})
        refused = client.post("/api/explain", json=someone | {"item": folded.json()["hits"][0]["item_id"]})
        hit = client.post("/api/recommend", json={"user": "buyer-0001", "k": 1}).json()["hits"][0]
        why = client.post("/api/explain", json={"user": "buyer-0001", "item": hit["item_id"]}).json()
        ended.set()
        for thread in threads:
            thread.join(20)
        serving.end()
    assert about["run_id"] == "first"
    assert about["index"] != before
    assert {status for status, _ in answers} == {200}
    assert {digest for _, digest in answers} == {before, about["index"]}
    assert (why["index"], why["rank"], why["score"]) == (about["index"], 1, hit["score"])
    for bars in why["bars"]:
        assert bars["base"] + sum(part["value"] for part in bars["parts"]) == pytest.approx(bars["total"], abs=1e-5)
    # Its model is a network.
    assert (about["history"], folded.status_code) == ("", 200)
    assert refused.status_code == 400
    assert refused.json()["error"].startswith("history: a network of two_tower reads it")


def test_a_fault_of_any_kind_is_said_and_the_next_night_is_looked_for(
    copy: Shop, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving, waited = Serving(Settings(copy.workspace, refresh_seconds=0.05)), threading.Event()
    roll_back(copy.workspace, None)
    with monkeypatch.context() as patched, caplog.at_level("WARNING", logger="medley"):
        patched.setattr(served, "Catalogue", lambda index: 1 / 0)
        serving.keep_fresh()
        for _ in range(200):
            if caplog.messages:
                break
            waited.wait(0.05)
    assert "goes on to answer: division by zero" in caplog.messages[0]
    for _ in range(200):
        if serving.now.about.run_id == "first":
            break
        waited.wait(0.05)
    serving.end()
    assert serving.now.about.run_id == "first"


def test_a_night_that_cannot_be_opened_leaves_the_old_one_answering(
    copy: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    serving = Serving(Settings(copy.workspace, refresh_seconds=0.05))
    before = serving.now
    roll_back(copy.workspace, None)
    current = (copy.workspace / "CURRENT.json").read_text()
    (copy.workspace / "CURRENT.json").write_text(current.replace('"index": "index/', '"index": "index/no'))
    changed = (copy.workspace / "CURRENT.json").read_text().replace('"digest": "', '"digest": "no')
    (copy.workspace / "CURRENT.json").write_text(changed)
    waited = threading.Event()
    with caplog.at_level("WARNING", logger="medley"):
        serving.keep_fresh()
        for _ in range(100):
            if caplog.messages:
                break
            waited.wait(0.05)
        waited.wait(0.3)
        serving.end()
    assert len([line for line in caplog.messages if "goes on to answer" in line]) == 1
    assert serving.now is before
    assert before.index.recommend("buyer-0001", k=3).hits
