from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from pipeline import heartbeat
from pipeline.training.progress import watched


def wait_for(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not happened() and time.monotonic() < end:
        time.sleep(0.01)
    assert happened()


def test_a_step_says_every_minute_how_far_it_is_and_no_longer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(heartbeat, "SECONDS", 0.02)
    before = threading.active_count()
    with caplog.at_level(logging.INFO, "medley"):
        with heartbeat.beating("train"):
            wait_for(lambda: "goes on, 0 min" in caplog.text)
            with watched("two_tower fit", 40) as on_epoch:
                on_epoch({"epoch": 12.0, "loss": 0.25})
                said = r"two_tower fit, epoch 12 of 40, loss 0.25, 0.0 s an epoch, 0 s left at most"
                wait_for(lambda: said in caplog.text)
        lines = len(caplog.records)
        time.sleep(0.1)
    assert len(caplog.records) == lines
    assert threading.active_count() == before


def test_a_step_that_fails_says_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "SECONDS", 0.02)
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), heartbeat.beating("train"):
        raise ZeroDivisionError
    assert threading.active_count() == before


def test_of_several_models_a_line_names_the_one_and_counts_its_own_epochs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(heartbeat, "SECONDS", 0.02)
    clock = iter([0.0, 100.0, 200.0, 203.0, 206.0])
    with caplog.at_level(logging.INFO, "medley"), heartbeat.beating("train"):
        monkeypatch.setattr("pipeline.training.progress.time", SimpleNamespace(monotonic=lambda: next(clock)))
        with watched("evaluated fit", 10) as on_epoch:
            with heartbeat.part("auto tries two_tower, 1 of 2"):
                wait_for(lambda: "min: auto tries two_tower, 1 of 2\n" in caplog.text)
                on_epoch({"epoch": 1.0, "loss": 0.5})
                on_epoch({"epoch": 2.0, "loss": 0.5})
                wait_for(lambda: "1 of 2, evaluated fit, epoch 2 of 10, loss 0.5, 100.0 s an epoch" in caplog.text)
            with heartbeat.part("auto tries graph, 2 of 2"):
                on_epoch({"epoch": 1.0, "loss": 0.5})
                on_epoch({"epoch": 2.0, "loss": 0.5})
                said = "auto tries graph, 2 of 2, evaluated fit, epoch 2 of 10, loss 0.5, 3.0 s an epoch, 24 s left"
                wait_for(lambda: said in caplog.text)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_step_that_hangs_ends_its_process(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    ended: list[int] = []
    monkeypatch.setattr(heartbeat, "GRACE_SECONDS", 0.1)
    monkeypatch.setattr(heartbeat.logging, "shutdown", lambda: None)
    monkeypatch.setattr(heartbeat.os, "_exit", lambda status: ended.append(status) or sys.exit())
    with caplog.at_level(logging.INFO, "medley"):
        with heartbeat.beating("train", 0.2):
            time.sleep(0.05)
        with heartbeat.beating("fuse", 0.1):
            wait_for(lambda: bool(ended))
    assert ended == [1]
    assert "fuse" in caplog.text
    assert "train" not in caplog.text
    assert "longer than nightly.timeout_seconds allows; it was last at its beginning" in caplog.text
