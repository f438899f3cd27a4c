"""A published index that every export is tested with."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.artefacts.published import CURRENT, ITEMS
from pipeline.config.rerank import Rerank
from pipeline.exports import contents as blocks
from pipeline.recommend.models.als import AlsSettings
from pipeline.steps import fuse, train
from tests.exports.published_again import with_attributes
from tests.planted_night import CONFIG, planted_night, publish


@pytest.fixture(scope="session")
def exported_night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a published index, of a model of choices alone."""
    folder = tmp_path_factory.mktemp("exports") / "workspace"
    als = AlsSettings(factors=8, iterations=3, regularization=(5,), alpha=(4,))
    chosen = CONFIG.model_copy(update={"train": als, "rerank": Rerank(enabled=False)})
    made = planted_night(folder, chosen)
    fuse.run(made)
    train.run(made)
    publish(made)
    with_attributes(folder / "index" / "planted" / ITEMS)
    return folder


@pytest.fixture
def workspace(exported_night: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, to be changed; blocks are small, so that there are several."""
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 64)
    shutil.copytree(exported_night / "index", tmp_path / "workspace" / "index")
    shutil.copyfile(exported_night / CURRENT, tmp_path / "workspace" / CURRENT)
    return tmp_path / "workspace"
