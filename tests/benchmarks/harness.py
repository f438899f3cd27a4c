"""What benchmarks share: a case and its table, and ways that are timed side by side.

Each way lives in a process of its own (`tests.benchmarks.worker`), started once and told when to run: two libraries'
thread pools in one process disturb each other, and each then has its own environment and peak memory. Ways take turns,
round by round, and a ratio is the median of the rounds' ratios, so that a busy neighbour slows both sides of it.
"""

from __future__ import annotations

import atexit
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("MEDLEY_TEST_DATA") or ROOT.parent / "shared" / "data")
# What a library does when nobody tells it otherwise.
POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "TOKENIZERS_PARALLELISM")
# Threads that spin at a barrier are fast alone and many times slower beside a busy neighbour: the other way is given
# whichever is faster here. Ours sets its own.
POLICIES: tuple[dict[str, str], ...] = ({}, {"OMP_WAIT_POLICY": "PASSIVE"})
PROBE = "probe"


@dataclass(frozen=True)
class Quality:
    """What was compared, its value, and the value that it may not fall below; no bar where it is only reported."""

    what: str
    value: float
    bar: float | None = None


@dataclass(frozen=True)
class Case:
    """Our way beside another. `target` is the least ratio wanted, or the largest where `at_most`.

    ours, other: rows a second. cpu_ratio: as `ratio`, of processor time, which neighbours change less.
    """

    name: str
    ours: float | None = None
    other: tuple[str, float | None] = ("", None)
    ratio: float | None = None
    cpu_ratio: float | None = None
    quality: Quality | None = None
    peak_rss_bytes: Mapping[str, int] = field(default_factory=dict)
    target: float | None = None
    at_most: bool = False
    notes: Sequence[str] = ()
    failed: bool = False

    @property
    def met(self) -> bool | None:
        """Whether target and bar hold; None where neither is set."""
        if self.failed:
            return False
        held = []
        if self.target is not None and self.ratio is not None:
            held.append(self.ratio <= self.target if self.at_most else self.ratio >= self.target)
        if self.quality and self.quality.bar is not None:
            held.append(self.quality.value >= self.quality.bar)
        return all(held) if held else None


@dataclass(frozen=True)
class Run:
    """One run of a way."""

    rows: int
    seconds: float
    cpu_seconds: float
    peak_rss_bytes: int
    vectors: np.ndarray


class WayFailed(RuntimeError):
    """A way could not be made or run; says why."""


class Way:
    """One way in its own process: what `factory` ("module:function") makes of `arguments`, kept ready to run."""

    def __init__(self, factory: str, arguments: Mapping[str, Any], policy: Mapping[str, str] | None = None) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.worker", factory],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={name: value for name, value in child_environment().items() if name not in POOLS} | dict(policy or {}),
        )
        assert self.process.stdin
        self.process.stdin.write(json.dumps(dict(arguments)) + "\n")
        self.process.stdin.flush()
        made = self._reply()
        self.facts: dict[str, Any] = made["facts"]
        self.functions: list[str] = made["functions"]
        self.load_seconds: float = made["seconds"]

    def run(self, what: str = "run") -> Run:
        """Runs one of the functions that the factory gave. Raises WayFailed."""
        file = Path(self.folder.name) / f"{what}.npy"
        assert self.process.stdin
        self.process.stdin.write(json.dumps({"run": what, "vectors": str(file)}) + "\n")
        self.process.stdin.flush()
        reply = self._reply()
        return Run(vectors=np.load(file), **reply)

    def close(self) -> None:
        """Ends the process."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()
        self.folder.cleanup()

    def __enter__(self) -> Way:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _reply(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        reply = json.loads(line) if line else {"error": "its process ended"}
        if "error" in reply:
            raise WayFailed(reply["error"])
        return reply


@dataclass(frozen=True)
class Beside:
    """Ways after all rounds: every run of each, by name, and what each way said of itself."""

    runs: Mapping[str, Sequence[Run]]
    facts: Mapping[str, Mapping[str, Any]]
    load_seconds: Mapping[str, float]
    refused: Mapping[str, str]

    def rate(self, name: str) -> float:
        """Rows a second, the median of the rounds."""
        return statistics.median(run.rows / run.seconds for run in self.runs[name])

    def ratio(self, ours: str, other: str, cpu: bool = False) -> float:
        """How many times the rows a second of `other`: median over rounds; by processor seconds if `cpu`."""

        def speed(run: Run) -> float:
            return run.rows / (run.cpu_seconds if cpu else run.seconds)

        pairs = zip(self.runs[ours], self.runs[other], strict=True)
        return statistics.median(speed(one) / speed(two) for one, two in pairs)

    def range_of(self, ours: str, other: str) -> str:
        """The rounds' smallest and largest ratio, for a note."""
        pairs = zip(self.runs[ours], self.runs[other], strict=True)
        found = [one.rows / one.seconds / (two.rows / two.seconds) for one, two in pairs]
        return f"ratio of rounds {min(found):.2f} to {max(found):.2f}"

    def peaks(self, *names: str) -> dict[str, int]:
        """Peak memory of the ways' processes."""
        return {name: max(run.peak_rss_bytes for run in self.runs[name]) for name in names}

    def cosine(self, ours: str, other: str) -> float:
        """Mean cosine; where `other` took every n-th row only, of those rows."""
        one, two = self.runs[ours][-1].vectors, self.runs[other][-1].vectors
        one = one[:: int(self.facts[other].get("every", 1))]
        return float(unit(one.astype(np.float32)).ravel() @ unit(two.astype(np.float32)).ravel() / len(two))


def beside(ways: Mapping[str, tuple[str, Mapping[str, Any]]], rounds: int) -> Beside:
    """Makes every way ("module:function:run" and its arguments) and lets them take turns.

    Ways of the same factory and arguments share a process. One that cannot be made is told in `refused`.
    """
    with ExitStack() as stack:
        made: dict[str, Way] = {}
        chosen: dict[str, tuple[Way, str]] = {}
        refused: dict[str, str] = {}
        for name, (what, arguments) in ways.items():
            factory, run = what.rsplit(":", 1)
            same = json.dumps([factory, dict(arguments)], sort_keys=True)
            try:
                if same not in made:
                    print(f"preparing {name}", file=sys.stderr, flush=True)
                    made[same] = stack.enter_context(_fastest(factory, arguments))
                chosen[name] = (made[same], run)
            except WayFailed as error:
                refused[name] = str(error)
        runs: dict[str, list[Run]] = {name: [] for name in chosen}
        for number in range(rounds):
            # Neither side always runs first.
            for name in list(chosen)[:: 1 if number % 2 else -1]:
                way, run = chosen[name]
                one = way.run(run)
                print(f"  {name}: {one.rows / one.seconds:.1f} rows/s", file=sys.stderr, flush=True)
                runs[name].append(one)
        facts = {name: way.facts for name, (way, _) in chosen.items()}
        seconds = {name: way.load_seconds for name, (way, _) in chosen.items()}
        return Beside(runs, facts, seconds, refused)


def _fastest(factory: str, arguments: Mapping[str, Any]) -> Way:
    """The way, and where its factory gives a short run to judge by, under the policy that runs it faster."""
    first = Way(factory, arguments, POLICIES[0])
    if PROBE not in first.functions:
        return first
    second = Way(factory, arguments, POLICIES[1])
    ways = sorted((first, second), key=lambda way: min(way.run(PROBE).seconds for _ in range(2)))
    ways[1].close()
    return ways[0]


@cache
def _bytecode() -> str:
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def child_environment() -> dict[str, str]:
    """The environment of a child: with a place for compiled modules, which a machine in use has.

    Where Python may not keep them, every process compiles some thousand modules again, for seconds.
    """
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"PYTHONPYCACHEPREFIX": _bytecode()}


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of unit norm."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def document(cases: Sequence[Case]) -> dict[str, Any]:
    """Cases as one JSON document, with the machine that they were measured on."""
    busy = f"load average {os.getloadavg()[2]:.1f} over the last 15 minutes"
    return {"machine": f"{machine()}; {busy}", "cases": [asdict(case) | {"met": case.met} for case in cases]}


def machine() -> str:
    """Cores, processor, and the instructions that decide which precision is fast."""
    try:
        text = Path("/proc/cpuinfo").read_text()
        name = text.split("model name")[1].split(":", 1)[1].splitlines()[0].strip()
        flags = text.split("flags")[1].splitlines()[0].split()
    except (OSError, IndexError):
        return f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}"
    told = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8") if flag in flags]
    return f"{os.cpu_count()} cores, {name}, {' '.join(told)}"
