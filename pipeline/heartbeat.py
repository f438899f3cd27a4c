"""Beside a step: a line in the log every minute with how far it said it is, and an end to one that hangs."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger("medley")
SECONDS = 60.0
# Beyond a step's time limit: a scheduler that has one ends the step itself before.
GRACE_SECONDS = 60.0
_state, _part = "", ""


def say(state: str) -> None:
    """How far the step is, for its next line; any thread may."""
    global _state
    _state = state


@contextmanager
def part(name: str) -> Iterator[None]:
    """Around a part of a step, which its lines name."""
    global _part
    _part = f"{name}, "
    say("")
    try:
        yield
    finally:
        _part = ""


@contextmanager
def beating(step: str, timeout_seconds: float = float("inf")) -> Iterator[None]:
    """Logs while a step runs, where no bar on a terminal tells of it.

    timeout_seconds: after so long, and a minute, the process ends at once, whatever waits for whatever: what is
    finished is kept.
    """
    over, began = threading.Event(), time.monotonic()
    quiet, end = sys.stderr.isatty(), timeout_seconds + GRACE_SECONDS
    say("")

    def beat() -> None:
        while not over.wait(max(0.0, min(SECONDS, began + end - time.monotonic()))):
            seconds = time.monotonic() - began
            state = f": {(_part + _state).rstrip(', ')}" if _part or _state else ""
            if seconds >= end:
                log.error(
                    "%-26s has not ended after %.0f s, longer than nightly.timeout_seconds allows; it was last at%s",
                    step,
                    seconds,
                    state or " its beginning",
                )
                logging.shutdown()
                os._exit(1)
            if not quiet:
                log.info("%-26s goes on, %.0f min%s", step, seconds / 60, state)

    thread = threading.Thread(target=beat, name=f"heartbeat of {step}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
