"""What tests of every part share: the real data, a small shop, and one published night of it."""

from __future__ import annotations

import csv
import importlib
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.sample import ShopSummary, write_shop
from tests.packages import write_package

ROOT = Path(__file__).parents[1]
CsvRow = dict[str, str]
AS_OF = "2026-01-01T00:00:00Z"


def pytest_configure(config: pytest.Config) -> None:
    """Gives each of several test processes cores of its own: busy pools on the same cores would wait for each other."""
    worker, workers = os.environ.get("PYTEST_XDIST_WORKER", ""), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[int(worker.removeprefix("gw")) % len(cores) :: workers] or cores)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the files that have a slow test: no process is left with one of them while the other is idle."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def _log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Medley's log as a process begins it, whatever a command or a library in this one has set up before."""
    log, root = logging.getLogger("medley"), logging.getLogger()
    for logger, level in ((log, logging.NOTSET), (root, logging.WARNING)):
        for name, value in (("disabled", False), ("propagate", True), ("level", level), ("filters", [])):
            monkeypatch.setattr(logger, name, value)
    monkeypatch.setattr(log, "parent", root)
    monkeypatch.setattr(root.manager, "disable", logging.NOTSET)
    log._cache.clear()  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The real data sets, in MEDLEY_TEST_DATA or beside the project; the test skips where there are none."""
    folder = Path(os.environ.get("MEDLEY_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no data sets in {folder}: set MEDLEY_TEST_DATA to the folder that holds them")
    return folder


def medley(
    *arguments: object, status: int = 0, env: dict[str, str] | None = None, cwd: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Runs the command line in its own process and checks its exit status."""
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=cwd,
        env={**os.environ, **(env or {})},
    )
    assert done.returncode == status, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def python(code: str, *arguments: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a program of this project in its own process, which must end well."""
    command, environment = [sys.executable, "-c", code, *map(str, arguments)], {**os.environ, **(env or {})}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


# A gate that lets out whatever was learned, and a model that learns little fast.
ANY_QUALITY = ("publish.gate.min_ratio=0", "publish.gate.min_published_ratio=0")
QUICK_MODEL = ("train.model=two_tower", "train.max_epochs=4")


def options(*settings: str) -> list[str]:
    """Settings as the command line takes them."""
    return [part for setting in settings for part in ("-s", setting)]


def manifest(workspace: Path, run_id: str) -> dict[str, Any]:
    """A run's manifest."""
    return json.loads((workspace / "runs" / run_id / "manifest.json").read_text())


def edit(shop: Shop, change: Callable[[list[CsvRow]], list[CsvRow]], name: str = "items.csv") -> None:
    """Rewrites one of the shop's files."""
    path = shop.folder / name
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(change(rows))


@dataclass(frozen=True)
class Shop:
    """A written sample shop and, where it was run, its workspace."""

    folder: Path
    summary: ShopSummary

    @property
    def config(self) -> Path:
        return self.folder / "medley.yaml"

    @property
    def workspace(self) -> Path:
        return self.folder / "workspace"

    def run(self, run_id: str, *more: object, status: int = 0) -> subprocess.CompletedProcess[str]:
        """One night at a fixed "now", quick to train."""
        quick = options("evaluate.bootstrap_samples=50", *ANY_QUALITY)
        if not any("train.model=" in str(option) for option in more):
            quick += options(*QUICK_MODEL)
        return medley("run", "-c", self.config, "--run-id", run_id, "--as-of", AS_OF, *quick, *more, status=status)

    def copy(self, folder: Path) -> Shop:
        """The same shop, workspace and all, to be changed by one test."""
        shutil.copytree(self.folder, folder)
        return Shop(folder, self.summary)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A small shop that no night has run on; tests that change it take a copy."""
    folder = tmp_path_factory.mktemp("shop") / "shop"
    return Shop(folder, write_shop(folder, items=80, users=60, seed=0))


@pytest.fixture(scope="session")
def published(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """The small shop after one published night, run id `first`."""
    night = shop.copy(tmp_path_factory.mktemp("published") / "shop")
    night.run("first")
    return night


@pytest.fixture
def night(published: Shop, tmp_path: Path) -> Iterator[Shop]:
    """A copy of the published shop, for one test to change."""
    copy = published.copy(tmp_path / "shop")
    yield copy
    shutil.rmtree(copy.folder)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Puts a distribution on the path, as an installation would, and returns its folder; see `write_package`."""
    before = set(sys.modules)

    def put(module: str, code: str, points: str, version: str = "1.0", name: str = "") -> Path:
        site = write_package(tmp_path / f"{name or module}-{version}", module, code, points, version, name)
        monkeypatch.syspath_prepend(site)
        importlib.invalidate_caches()
        return site

    yield put
    for module in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[module], "__file__", "")):
            del sys.modules[module]
