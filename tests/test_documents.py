"""The documents' promises, kept by running them. `python -m tests.test_documents` writes the reference anew."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.config import leaves
from tests.conftest import ANY_QUALITY, ROOT, medley, options
from tests.documents import DOCUMENTS, RUN, block, blocks
from tests.reference import PAGE, kinds, reference

README = ROOT / "README.md"
# One config is one kind's: what other kinds have is known by the kinds' own settings.
SETTING = re.compile(
    r"`(?:-s )?((?:source|ingest|extract|fuse|train|tune|rerank|evaluate|index|publish|nightly)\.[a-z0-9_.]+)"
)


def test_the_reference_of_settings_is_the_configs_own() -> None:
    assert PAGE.read_text("utf-8") == reference(), "run: python -m tests.test_documents"


def test_the_first_table_is_short_enough_to_be_read() -> None:
    common = reference().split("\n## ")[0]
    assert 30 < len(re.findall(r"^\| `", common, re.MULTILINE)) <= 60


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_page_can_be_read_in_one_go_and_its_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    text = page.read_text("utf-8")
    limit = 250 if page == README else 200
    assert page == PAGE or len(text.splitlines()) <= limit
    for link in re.findall(r"\]\(([^)#]+?)\)", text):
        assert "://" in link or (page.parent / link).exists(), f"{name}: {link}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_setting_that_a_page_names_exists(name: str) -> None:
    known = {path for path, _ in leaves()} | set(own_settings())
    for path in SETTING.findall((ROOT / name).read_text("utf-8")):
        path = path.rstrip(".")
        assert any(setting == path or setting.startswith(f"{path}.") for setting in known), f"{name}: {path}"


def own_settings() -> Iterator[str]:
    """The dotted path of every setting of every kind, and of further modalities' sections."""
    for prefix, _, settings in kinds():
        yield from (path for path, _ in leaves(settings, f"{prefix}."))
        yield from (f"{prefix}.{name}" for name in type(settings).model_fields)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_code_block_is_run_by_a_test(name: str) -> None:
    tests = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    for language, code in blocks(ROOT / name):
        runs = [
            key for key, (page, kind, holding) in RUN.items() if (page, kind) == (name, language) and holding in code
        ]
        assert len(runs) == 1, f"{name}: {len(runs)} entries of tests.documents.RUN for a block of {language}:\n{code}"
        assert f'block("{runs[0]}")' in tests, f"no test runs {runs[0]}"


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    for command in block("two commands").splitlines():
        done = subprocess.run([*shlex.split(command), "-n"], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def own_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the README's two queries and its YAML, beside products, photos and sales as it names them."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "medley.yaml").write_text(block("yaml"))
    (folder / "items.sql").write_text(block("items.sql"))
    (folder / "interactions.sql").write_text(block("interactions.sql"))
    (folder / "photos").mkdir()
    products = ["sku,name,description,photo,sample,category"]
    for i in range(60):
        Image.new("RGB", (40, 40), (i * 4, 90, 200 - i)).save(folder / f"photos/{i}.png")
        products.append(f"{i},thing {i},a thing for purpose {i % 5},photos/{i}.png,,c{i % 3}")
    (folder / "products.csv").write_text("\n".join(products) + "\n")
    (folder / "sales").mkdir()
    sales = {
        "customer": [4711 + i % 30 for i in range(600)],
        "sku": [(i * 7 + i // 30 * 3) % 60 for i in range(600)],
        "sold_at": pa.array([1_700_000_000 + 3_600 * i for i in range(600)], pa.timestamp("s")),
    }
    pq.write_table(pa.table(sales), folder / "sales/2023.parquet")
    return folder


def run_lines(code: str, folder: Path) -> list[str]:
    """What each `medley` line of a shell block prints, run in a folder."""
    commands = [shlex.split(line, comments=True) for line in code.splitlines() if line.strip()]
    assert all(command[0] == "medley" for command in commands)
    # Sixty things sold in turn teach no model much.
    settings = ("train.model=two_tower", "train.max_epochs=2", "evaluate.bootstrap_samples=20", *ANY_QUALITY)
    quick = options(*settings)
    return [medley(*command[1:], *(quick if command[1] == "run" else []), cwd=folder).stdout for command in commands]


def test_two_queries_and_a_yaml_are_enough_for_ones_own_data(own_data: Path) -> None:
    checked, run, status, lookup, words, explained = run_lines(block("own data"), own_data)
    assert [line.split()[0] for line in checked.splitlines()] == ["ok"] * 5
    assert "published" in run + status
    assert len(lookup.splitlines()) > 5
    assert len(words.splitlines()) == 11
    assert "15" in explained
    (again,) = run_lines(block("second day"), own_data)
    assert "published" in again


def test_the_six_lines_open_the_index_and_rank_by_its_vectors(own_data: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", block("six lines")], capture_output=True, text=True, cwd=own_data, check=True
    )
    shown = json.loads(done.stdout.replace("'", '"'))
    current = json.loads((own_data / "workspace/CURRENT.json").read_text())
    folder = own_data / "workspace" / current["index"]
    lists = pq.read_table(folder / "recommendations.parquet", filters=[("user_id", "=", "4711")]).to_pylist()
    listed = [row["item_id"] for row in sorted(lists, key=lambda row: row["rank"])]
    assert len(set(shown)) == len(shown) == min(10, len(listed))
    card: dict[str, Any] = json.loads((folder / "card.json").read_text())
    if card["recommended"]["score"] == "inner product":
        assert shown == listed[:10]


def test_the_class_answers_a_user_an_item_and_words(own_data: Path) -> None:
    command = [sys.executable, "-c", block("index")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=own_data, check=True)
    recommended, searched = done.stdout.splitlines()
    assert recommended.count("Hit(") == 15
    assert searched.count("Hit(") == 10


@pytest.mark.parametrize(
    ("package", "code"),
    [
        (block("own encoder's package"), block("own encoder")),
        (block("own fusion's package"), block("own fusion")),
        (block("own recommender's package"), block("own recommender")),
    ],
)
def test_an_entry_point_that_a_page_shows_names_the_class_that_it_shows(package: str, code: str) -> None:
    ((group, points),) = tomllib.loads(package)["project"]["entry-points"].items()
    (target,) = points.values()
    assert group in ("medley.encoders", "medley.fusions", "medley.recommenders")
    assert f"class {target.split(':')[1]}(" in code


def test_a_metric_is_a_module_as_the_page_says() -> None:
    names: dict[str, Any] = {}
    exec(block("metric"), names)
    hits, targets = np.array([[True, False], [True, True]]), np.array([1, 3])
    assert names["values"](hits, targets, 2).tolist() == [0.5, 1.0]


if __name__ == "__main__":
    PAGE.write_text(reference(), "utf-8")
