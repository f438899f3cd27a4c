"""A wheel carries everything that a checkout needs to run."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = {"pipeline": "pipeline", "sql": "pipeline/_sql", "dags": "pipeline/_dags"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    pytest.importorskip("hatchling", reason="hatchling is not installed: pip install -e '.[dev]'")
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("built")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in PARTS:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(built)]
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    return zipfile.ZipFile(next(built.glob("medley_recsys-*.whl")))


def test_every_file_of_the_package_its_queries_and_its_dags_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    expected = {
        f"{inside}/{path.relative_to(ROOT / part).as_posix()}"
        for part, inside in PARTS.items()
        for path in (ROOT / part).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"pipeline/_dags/nightly.py", "pipeline/config/load.py"} <= expected
    assert any(name.endswith(".sql") for name in expected)
    assert expected <= set(wheel.namelist())


def test_nothing_but_the_package_is_at_the_wheels_top_level(wheel: zipfile.ZipFile) -> None:
    assert {name.split("/")[0] for name in wheel.namelist()} == {"pipeline", "medley_recsys-0.1.0.dist-info"}


def test_the_wheel_installs_the_command(wheel: zipfile.ZipFile) -> None:
    points = wheel.read("medley_recsys-0.1.0.dist-info/entry_points.txt").decode()
    assert "medley = pipeline.cli:main" in points
