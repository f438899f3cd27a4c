"""Readers of the published index while nights are published over it, rolled back, swept, and killed amid all that.

python -m tests.benchmarks.publishes [--publishes 50] [--rollbacks 5] [--kills 10] [--readers 4] [--queries 100000]

A night of the sample shop is run; each further night is a version of it that its answers can be told by, and goes out
by what `medley publish`, `rollback` and `sweep` call, in a process that is killed at seeded moments: every other time
before `CURRENT.json` moves, or nearly, and else as soon as it has, when the sweep begins. `publish.keep_runs` is 1.
Before most nights a day passes: all that a sweep looks at becomes a day older. After a kill the same night is published
again by another process.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from pipeline.sample import write_shop
from pipeline.steps.sweep import SWEPT
from tests.benchmarks.harness import machine
from tests.benchmarks.publishes_versions import Truth, digest_of, write_run
from tests.conftest import ANY_QUALITY, AS_OF, QUICK_MODEL, ROOT, medley, options

PROCESSES = "tests.benchmarks.publishes_processes"
SETTINGS = (*ANY_QUALITY, "publish.keep_runs=1", "threads=1")
DAY = 86_400
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}
# The share of a publish that is over when CURRENT.json moves, and how long behind that a sweep of so few files takes.
BEFORE, SWEEP_SECONDS = 0.25, 0.03
PATIENCE_SECONDS = 600


@dataclass(frozen=True)
class Plan:
    """How often what is done. queries: of all readers together, at least. report_every: 0 for no report at all.

    Nine tenths of such a night's publishing are its report, in which no reader looks and most kills would land.
    """

    publishes: int = 50
    rollbacks: int = 5
    kills: int = 10
    readers: int = 4
    queries: int = 100_000
    report_every: int = 5
    seed: int = 0

    def spread(self, count: int) -> set[int]:
        """So many of the nights, evenly, from the second on."""
        return {2 + at * (self.publishes - 1) // count for at in range(count)} if count else set()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, value in vars(Plan()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value)
    parser.add_argument("--json", action="store_true")
    asked = vars(parser.parse_args())
    as_json = asked.pop("json")
    with tempfile.TemporaryDirectory() as scratch:
        shop = Path(scratch) / "shop"
        write_shop(shop, items=80, users=60, seed=0)
        quick = options("evaluate.bootstrap_samples=50", *ANY_QUALITY, *QUICK_MODEL)
        medley("run", "-c", shop / "medley.yaml", "--run-id", "first", "--as-of", AS_OF, *quick)
        document = measured(shop, Path(scratch), Plan(**asked)) | {"machine": machine()}
    if as_json:
        print(json.dumps(document))
        return
    readers = document.pop("readers")
    print("\n".join(f"{name:<40} {value}" for name, value in document.items()))
    print(f"\n{'reader':<8}" + "".join(f"{name:>26}" for name in readers[0] if name != "faults"))
    for number, reader in enumerate(readers):
        print(f"{number:<8}" + "".join(f"{value:>26.5g}" for name, value in reader.items() if name != "faults"))


def measured(shop: Path, scratch: Path, plan: Plan) -> dict[str, Any]:
    """Carries a plan out on a shop after its first night; returns what was counted. scratch: a folder for notes."""
    workspace = shop / "workspace"
    current = json.loads((workspace / "CURRENT.json").read_text())
    shutil.copytree(workspace / current["index"], scratch / "truth")
    shutil.copytree(workspace / "runs" / current["run_id"], scratch / "model")
    night = Nights(
        workspace, scratch / "model", Truth(scratch / "truth"), shop / "medley.yaml", plan, scratch / "publisher.log"
    )
    night.publish(1, killed="")
    begin = time.perf_counter()
    readers = [started_reader(workspace, scratch, plan, number) for number in range(plan.readers)]
    try:
        night.go_on()
        (scratch / "stop").touch()
        found = [json.loads(reader.communicate(timeout=PATIENCE_SECONDS)[0]) for reader in readers]
    finally:
        (scratch / "stop").touch()
        for reader in readers:
            reader.kill()
        night.end()
    return {
        "seconds": round(time.perf_counter() - begin, 1),
        "queries": sum(reader["queries"] for reader in found),
        "failures": sum(reader["failures"] for reader in found),
        "faults": [fault for reader in found for fault in reader["faults"]],
        **night.counts(),
        "readers": found,
    }


def started_reader(workspace: Path, scratch: Path, plan: Plan, number: int) -> subprocess.Popen[str]:
    given = (workspace, scratch / "truth", scratch / "stop", number, plan.queries // plan.readers)
    command = [sys.executable, "-m", PROCESSES, "reader", *map(str, given)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=ONE_THREAD)


@dataclass
class Nights:
    """The nights after the first, and the process that publishes them. model: of their receipts, see `write_run`."""

    workspace: Path
    model: Path
    truth: Truth
    config: Path
    plan: Plan
    log: Path
    seconds: list[float] = field(default_factory=list)
    rollbacks: int = 0
    sweeps: int = 0
    kills: list[bool] = field(default_factory=list)
    too_late: int = 0

    def __post_init__(self) -> None:
        self.moments = random.Random(self.plan.seed)
        command = [sys.executable, "-m", PROCESSES, "publisher", str(self.config), *SETTINGS]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "env": ONE_THREAD, "cwd": ROOT}
        with self.log.open("a") as log:
            self.process: subprocess.Popen[str] = subprocess.Popen(command, stderr=log, text=True, **pipes)
        self.answer()

    def go_on(self) -> None:
        """Publishes, rolls back, sweeps and is killed as planned."""
        back, killed = self.plan.spread(self.plan.rollbacks), self.plan.spread(self.plan.kills)
        owed = 0
        for number in range(2, self.plan.publishes + 1):
            # A night that is rolled back to is there for an hour alone.
            if number not in back:
                a_day_passes(self.workspace)
            owed += number in killed
            before = len(self.kills)
            self.publish(number, killed=("moved" if before % 2 else "before") if owed else "")
            owed -= len(self.kills) - before
            if number in back:
                self.do("rollback")
                self.rollbacks += 1
            if number % 7 == 0:
                self.do("sweep")
                self.sweeps += 1
        if owed:
            raise RuntimeError(f"{owed} kills came too late: the publisher had ended; give more nights")

    def publish(self, number: int, killed: str) -> None:
        """Publishes a version. killed: the kind of moment at which the publisher is killed first; empty for none."""
        run = write_run(self.workspace, self.model, self.truth, number)
        every = self.plan.report_every
        command = f"publish {run}" + ("" if every and number % every == 0 else " without-report")
        if killed:
            self.kill(command, killed)
        self.seconds.append(self.do(command))
        current = json.loads((self.workspace / "CURRENT.json").read_text())
        if current["digest"] != digest_of(number):
            raise RuntimeError(f"{run} was published, and {current} is")

    def kill(self, command: str, moment: str) -> None:
        """Kills the process that carries a command out; if it had done so before, that is only counted."""
        place = self.workspace / "CURRENT.json"
        before, process = place.stat().st_ino, int(self.told(command)["process"])
        if moment == "before":
            time.sleep(self.moments.uniform(0, BEFORE * median(self.seconds)))
        else:
            until = time.monotonic() + PATIENCE_SECONDS
            while place.stat().st_ino == before and time.monotonic() < until:
                time.sleep(0.0002)
            time.sleep(self.moments.uniform(0, SWEEP_SECONDS))
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        if self.answer()["killed"]:
            self.kills.append(place.stat().st_ino != before)
        else:
            self.too_late += 1

    def do(self, command: str) -> float:
        """Has something done, and returns how many seconds it took. Raises RuntimeError if it failed."""
        self.told(command)
        answer = self.answer()
        if answer["killed"] or answer["fault"]:
            raise RuntimeError(f"{command}: {answer}")
        return float(answer["seconds"])

    def told(self, command: str) -> dict[str, Any]:
        """Tells the publisher what to do; returns what it says when that begins."""
        assert self.process.stdin
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """The next line of the publisher. Raises RuntimeError if none comes."""
        assert self.process.stdout
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE_SECONDS)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            raise RuntimeError(f"the publisher says nothing; see {self.log}")
        return dict(json.loads(line))

    def end(self) -> None:
        """Ends the publisher."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(PATIENCE_SECONDS)

    def counts(self) -> dict[str, Any]:
        """What was done."""
        left = len(list((self.workspace / "index").iterdir()))
        return {
            "publishes": len(self.seconds),
            "rollbacks": self.rollbacks,
            "sweeps by hand": self.sweeps,
            "kills": len(self.kills),
            "of them after CURRENT.json had moved": sum(self.kills),
            "kills that came too late, not counted": self.too_late,
            "indexes swept": len(self.seconds) + 1 - left,
            "a publish, median s": round(median(self.seconds), 2),
        }


def a_day_passes(workspace: Path, patterns: Sequence[str] = SWEPT) -> None:
    """Makes all that a sweep looks at a day older."""
    for pattern in ("runs/*/run.json", "runs/*/steps/*.json", "index/*", ".tmp/*", *patterns):
        for path in workspace.glob(pattern):
            with suppress(FileNotFoundError):
                moment = path.stat().st_mtime - DAY
                os.utime(path, (moment, moment))


if __name__ == "__main__":
    main()
