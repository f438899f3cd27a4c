"""Cells in parts: whoever finds them, the index has the same bytes; and none where every vector is compared."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline.artefacts.read import read_table
from pipeline.artefacts.vectors import read_rows, read_vectors
from pipeline.config import load
from pipeline.errors import StepFailed
from pipeline.night import Night, resume
from pipeline.steps import index, index_cells, train
from tests.conftest import ANY_QUALITY, QUICK_MODEL, Shop, medley, options

PARTED, SHORT = "index.max_latency_ms=1e-9", "nightly.task_seconds=1e-9"
SETTINGS = ("evaluate.bootstrap_samples=50", *ANY_QUALITY, *QUICK_MODEL)
ROWS = 16


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_cells, "PART_ROWS", ROWS)


def opened(shop: Shop, *settings: str, full: bool = False) -> Night:
    folder = f"workspace={shop.workspace}"
    return resume(load(shop.config, (*SETTINGS, folder, *(settings or (PARTED, SHORT)))), "first", full)


def make(night: Night) -> list[tuple[str, list[int]]]:
    """Makes what the tasks are for, as a scheduler would; returns of each what it made."""
    made = []
    for task in index.tasks(night):
        option, of, *rest = task["options"]
        assert (option, set(rest[::2])) == ("--of", {"--part"})
        numbers = [int(number) for number in rest[1::2]]
        index_cells.run(night, of, numbers)
        made.append((of, numbers))
    return made


def nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("what is there is made again")

    monkeypatch.setattr(index_cells, "nearest_cells", refuse)
    monkeypatch.setattr(index_cells, "centres_of", refuse)


@pytest.mark.parametrize("full", [False, True])
def test_cells_found_in_parts_give_the_bytes_of_an_index_made_alone(
    night: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    whole = index.run(opened(night.copy(tmp_path / "whole"), full=full))
    apart = opened(night, full=full)
    made = make(apart)
    n_items = len(read_vectors(train.read(apart).published.item_vectors, "item_id")[0])
    numbers = [part for of, group in made for part in group if of == "recommend"]
    assert numbers == list(range(-(-n_items // ROWS)))
    assert {of for of, _ in made} == {"recommend", "content"}
    nothing_is_made(monkeypatch)
    joined = index.run(apart)
    assert joined.outputs == whole.outputs
    assert not joined.skipped
    assert not whole.skipped


def test_a_part_that_is_gone_is_made_again(night: Shop) -> None:
    apart = opened(night)
    make(apart)
    (lost,) = night.workspace.glob("cells/recommend/part-00001-*.parquet")
    before = lost.read_bytes()
    lost.unlink()
    index.run(apart)
    assert lost.read_bytes() == before


def test_cells_are_those_of_the_nearest_centre(night: Shop) -> None:
    apart = opened(night)
    make(apart)
    (folder,) = night.workspace.glob("centres/recommend/*")
    centres = read_rows(folder / "centres.parquet", np.arange(2))
    path = train.read(apart).published.item_vectors
    vectors = read_vectors(path, "item_id")[1]
    chosen = vectors.any(axis=1)
    cell = read_table(night.workspace / "cells/recommend", ["cell"])["cell"].to_numpy()
    np.testing.assert_array_equal(cell[chosen], (vectors @ centres.T).argmax(axis=1)[chosen])
    some = np.array([0, 3, 40, 41])
    np.testing.assert_array_equal(read_rows(path, some), vectors[some])


def test_nothing_is_mapped_where_an_index_is_there_or_short_to_make_or_compares_every_vector(
    night: Shop,
) -> None:
    assert index.tasks(opened(night, SHORT, "index.max_latency_ms=10")) == []
    assert index.tasks(opened(night, PARTED)) == []
    assert not (night.workspace / "centres").exists()
    index.run(opened(night, PARTED))
    assert index.tasks(opened(night)) == []
    assert len(index.tasks(opened(night, full=True))) > 2
    cells = {path.name for path in night.workspace.glob("cells/*/*.parquet")}
    first = min(night.workspace.glob("cells/recommend/part-00001-*.parquet"))
    first.unlink()
    others = opened(night, PARTED, SHORT, "index.queries=100")
    assert make(others) == [("recommend", [1])], "cells are there already, but for one part"
    assert {path.name for path in night.workspace.glob("cells/*/*.parquet")} == cells


def test_a_damaged_part_is_found_again_by_a_night_that_computes_everything(night: Shop, tmp_path: Path) -> None:
    whole = index.run(opened(night.copy(tmp_path / "whole")))
    index.run(opened(night))
    damaged = min(night.workspace.glob("cells/recommend/part-00001-*.parquet"))
    damaged.write_bytes(damaged.read_bytes()[:20] + b"?" + damaged.read_bytes()[21:])
    assert index.run(opened(night, full=True)).outputs == whole.outputs


def test_cells_of_other_centres_are_not_taken(night: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = index.run(opened(night.copy(tmp_path / "whole")))
    make(opened(night))
    with monkeypatch.context() as wrong:
        wrong.setattr(index_cells, "VERSION", 0)
        wrong.setattr(index_cells, "nearest_cells", lambda vectors, _: np.zeros(len(vectors), np.int64))
        make(opened(night))
    assert index.run(opened(night)).outputs == whole.outputs


def test_what_is_no_part_is_one_sentence(night: Shop) -> None:
    apart = opened(night)
    for of, part, said in (
        ("similar", 0, "--of similar: the indexes are recommend and content"),
        ("recommend", 5, "--part 5: this catalogue has parts 0 to 4"),
        ("recommend", -1, "--part -1: this catalogue has parts 0 to 4"),
        ("recommend", 4, "run first has no centres of recommend; run `medley index --prepare` with this run id first"),
    ):
        with pytest.raises(StepFailed) as refused:
            index_cells.run(apart, of, [part])
        assert str(refused.value).startswith(said)


def test_the_verb_finds_the_cells_of_a_part(night: Shop) -> None:
    common = (
        "-c",
        night.config,
        "-s",
        f"workspace={night.workspace}",
        "--run-id",
        "first",
        *options(*SETTINGS, PARTED),
    )
    for apart in (("--part", "0"), ("--of", "content"), ("--prepare", "--of", "content", "--part", "0")):
        refused = medley("index", *apart, *common, status=2)
        assert refused.stderr.strip().endswith("medley: index: --of and --part go together, and without --prepare")
    refused = medley("index", "--of", "recommend", "--part", "0", *common, status=1)
    assert refused.stderr.strip().splitlines()[-1].startswith("medley: run first has no centres of recommend")
    assert medley("index", "--prepare", *common).stdout.strip() == "0 tasks to find cells"
    medley("index", *common)
    count = len(read_vectors(train.read(opened(night)).published.item_vectors, "item_id")[0])
    for _ in range(2):
        said = medley("index", "--of", "content", "--part", "0", *common).stdout
        assert said.strip() == f"found the cells of {count} items"
        shutil.rmtree(night.workspace / "cells")
