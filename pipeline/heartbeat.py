"""A line in the log every minute that a step takes, with what was last said of how far it is."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger("medley")
SECONDS = 60.0
_state = ""


def say(state: str) -> None:
    """How far the step is, for its next line; any thread may."""
    global _state
    _state = state


@contextmanager
def beating(step: str) -> Iterator[None]:
    """Logs while a step runs, where no bar on a terminal tells of it."""
    if sys.stderr.isatty():
        yield
        return
    over, began = threading.Event(), time.monotonic()
    say("")

    def beat() -> None:
        while not over.wait(SECONDS):
            minutes = (time.monotonic() - began) / 60
            log.info("%-26s goes on, %.0f min%s", step, minutes, f": {_state}" if _state else "")

    thread = threading.Thread(target=beat, name=f"heartbeat of {step}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
