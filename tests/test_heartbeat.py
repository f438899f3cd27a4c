from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

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
