"""The processes of `tests.benchmarks.publishes`: a publisher, which does what it is told, and a reader, which asks on.

python -m tests.benchmarks.publishes_processes publisher CONFIG KEY=VALUE...
python -m tests.benchmarks.publishes_processes reader WORKSPACE TRUTH STOP SEED QUERIES

The readers rest between questions: it is publishing that the processors are for.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import numpy as np

# Of one question in so many, a reader opens the index anew; and of so many it looks whether it is to stop.
OPENED_ANEW, LOOKED = 200, 20
REST_SECONDS = 0.01
MOST_FAULTS = 5


def publisher(config: Path, overrides: list[str]) -> None:
    """Carries out each line of standard input, a verb and its arguments, in a process of its own, and says so.

    It says the process's id when that begins, and its fault, empty for none, and seconds, when it has ended by itself.
    That process begins with all that those before it imported, so that no kill lands in an import for want of another
    place, and nothing but imports has happened here when it is forked.
    """
    known = load(("pipeline.cli", "pipeline.cli.publishing", "pipeline.steps.publish", "pipeline.steps.rollback"))
    say(ready=True)
    for line in sys.stdin:
        begin, (source, sink) = time.perf_counter(), os.pipe()
        child = os.fork()
        if child == 0:
            os.close(source)
            fault = carried_out(config, overrides, line.split())
            with open(sink, "w") as file:
                json.dump({"fault": fault, "modules": sorted(set(sys.modules) - known)}, file)
            os._exit(0)
        os.close(sink)
        say(process=child)
        with open(source) as file:
            told = file.read()
        os.waitpid(child, 0)
        say(killed=not told, fault=json.loads(told)["fault"] if told else "", seconds=time.perf_counter() - begin)
        if told:
            known |= load(json.loads(told)["modules"])


def load(modules: Iterable[str]) -> set[str]:
    """Imports modules, as far as they can be; returns the names of all that are."""
    for name in modules:
        with suppress(Exception):
            import_module(name)
    return set(sys.modules)


def carried_out(config: Path, overrides: list[str], line: list[str]) -> str:
    """Calls what a verb of the command line does; returns what it raised, if anything."""
    from pipeline.cli import publishing
    from pipeline.cli.verb import read_config, resume
    from pipeline.steps import publish

    try:
        match line:
            case ["publish", run, *without]:
                if without:
                    publish.write_report = lambda _, path: path.write_text("")  # type: ignore[assignment]
                publishing.publish(resume(config, overrides, run, quiet=True))
            case ["rollback"]:
                publishing.rollback(Path(read_config(config, overrides, quiet=True).workspace))
            case _:
                publishing.sweep(read_config(config, overrides, quiet=True))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def say(**told: object) -> None:
    """One line of JSON."""
    print(json.dumps(told), flush=True)


class Reader:
    """Asks until it is told to stop, and has asked enough; another thread refreshes meanwhile."""

    def __init__(self, workspace: Path, truth: Path, stop: Path, seed: int, queries: int) -> None:
        from pipeline.serving import Index
        from tests.benchmarks.publishes_versions import Truth

        self.workspace, self.truth, self.stop, self.least = workspace, Truth(truth), stop, queries
        self.random = np.random.default_rng(seed)
        self.versions: Counter[int] = Counter()
        self.faults: list[str] = []
        self.refreshes: list[float] = []
        self.openings: list[float] = []
        self.failed = 0
        self.index, self.over = Index.open(workspace), threading.Event()

    def run(self) -> dict[str, object]:
        refresher = threading.Thread(target=self.refresh)
        refresher.start()
        asked = 0
        while asked < self.least or not self.stop.exists():
            for _ in range(LOOKED):
                self.ask()
                asked += 1
            time.sleep(REST_SECONDS)
        self.over.set()
        refresher.join()
        return {
            "queries": asked,
            "failures": self.failed,
            "faults": self.faults,
            "versions": len(self.versions),
            "refreshes": len(self.refreshes),
            "longest_refresh_seconds": max(self.refreshes, default=0.0),
            "opened_anew": len(self.openings),
            "longest_opening_seconds": max(self.openings, default=0.0),
        }

    def ask(self) -> None:
        from pipeline.serving import Index
        from tests.benchmarks.publishes_versions import asked

        try:
            index = self.index
            if self.random.integers(OPENED_ANEW) == 0:
                begin = time.perf_counter()
                index = Index.open(self.workspace, once=bool(self.random.integers(2)))
                self.openings.append(time.perf_counter() - begin)
            version, fault = asked(index, self.truth, self.random)
            self.versions[version] += 1
            if fault:
                self.fail(fault)
        except Exception:
            self.fail(traceback.format_exc(limit=-4))

    def refresh(self) -> None:
        while not self.over.wait(0.02):
            begin = time.perf_counter()
            try:
                if self.index.refresh():
                    self.refreshes.append(time.perf_counter() - begin)
            except Exception:
                self.fail("refresh: " + traceback.format_exc(limit=-4))

    def fail(self, fault: str) -> None:
        self.failed += 1
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(fault)


if __name__ == "__main__":
    if sys.argv[1] == "publisher":
        publisher(Path(sys.argv[2]), sys.argv[3:])
    else:
        folders, numbers = map(Path, sys.argv[2:5]), map(int, sys.argv[5:7])
        print(json.dumps(Reader(*folders, *numbers).run()))  # type: ignore[arg-type]
