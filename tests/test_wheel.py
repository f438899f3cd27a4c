"""A wheel carries everything that a checkout needs to run."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.documents import block

ROOT = Path(__file__).parents[1]
PARTS = {"pipeline": "pipeline", "sql": "pipeline/_sql", "dags": "pipeline/_dags"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    pytest.importorskip("hatchling", reason="hatchling is not installed: pip install -e '.[dev]'")
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in PARTS:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    build, install = (shlex.split(line) for line in block("wheel").splitlines())
    assert build[:2] == ["pip", "wheel"]
    # Without isolation, so that nothing is downloaded.
    subprocess.run([sys.executable, "-m", *build, "--no-build-isolation"], cwd=source, check=True, capture_output=True)
    path, _, extra = install[-1].partition("[")
    assert extra == "weights]"
    return zipfile.ZipFile(source / path)


def test_the_weights_that_it_names_are_those_as_tested(wheel: zipfile.ZipFile) -> None:
    metadata = wheel.read("medley_recsys-0.1.0.dist-info/METADATA").decode()
    pinned = re.findall(r"^Requires-Dist: (\S+==\S+); extra == 'weights'", metadata, re.MULTILINE)
    constraints = (ROOT / "constraints.txt").read_text().splitlines()
    assert len(pinned) == 4
    assert set(pinned) <= set(constraints)


def test_every_dependency_has_a_lower_bound_that_is_what_was_tested(wheel: zipfile.ZipFile) -> None:
    metadata = wheel.read("medley_recsys-0.1.0.dist-info/METADATA").decode()
    tested = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    for requirement in re.findall(r"^Requires-Dist: (.+)$", metadata, re.MULTILINE):
        name, bound = re.match(r"([\w.-]+)(?:\[\w+\])?[>=]=([\w.]+)", requirement).groups()  # type: ignore[union-attr]
        assert tested[name.lower().replace("_", "-")].startswith(bound), requirement


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
