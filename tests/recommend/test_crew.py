"""Several processes fit a model together, and end where one alone would, but for rounding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.launch import launch
from pipeline.recommend.contract import Scratch
from pipeline.recommend.crew import ALONE, Crew, joined
from tests.recommend.test_recommenders import CONFIG, World
from tests.recommend.test_trainer import NAMES, made

# Dropout is each process's own; without it, two draw what one does. Sampled where that is another path.
SETTINGS: dict[str, dict[str, Any]] = {
    "two_tower": {"dropout": 0.0, "hard_negatives": 0, "in_batch_negatives": True, "batch_rows": 33},
    "sequence": {"dropout": 0.0, "id_dropout": 0.0, "full_softmax_items": 10, "negatives": 40},
    "graph": {"max_candidates": 30, "batch_users": 65},
}


def fit(name: str, world: World, crew: Crew, scratch: Path | None = None, **settings: Any) -> tuple[Any, ...]:
    """Losses and NDCG@10 of the epochs, and the vectors."""
    model = made(name, max_epochs=3, evaluate_every=1, clip=0.5, **settings)
    model.crew = crew
    model.scratch = Scratch(scratch, 0) if scratch else None
    found = model.fit(world.content, world.train, world.validation)
    curve = [[epoch["loss"], epoch["ndcg@10"]] for epoch in found.curve]
    return np.array(curve), model.item_vectors, model.user_vectors(world.train)


def fit_all(folder: Path) -> None:
    """What every process of a crew has, of each model."""
    world = World()
    with joined() as crew:
        for name in NAMES:
            np.savez(folder / f"{name}-{crew.rank}.npz", *fit(name, world, crew, **SETTINGS.get(name, {})))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("crew")
    launch(2, CONFIG, fit_all, found)
    return found


def read(path: Path) -> list[np.ndarray]:
    with np.load(path) as file:
        return list(file.values())


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_learn_what_one_does(name: str, folder: Path) -> None:
    alone = fit(name, World(), ALONE, **SETTINGS.get(name, {}))
    for one, two in zip(alone, read(folder / f"{name}-0.npz"), strict=True):
        np.testing.assert_allclose(one, two, rtol=2e-3, atol=2e-3 * np.abs(one).max())


@pytest.mark.parametrize("name", NAMES)
def test_all_processes_have_the_same(name: str, folder: Path) -> None:
    for one, two in zip(read(folder / f"{name}-0.npz"), read(folder / f"{name}-1.npz"), strict=True):
        assert one.tobytes() == two.tobytes()


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(ConfigError, match="3 processes fit a model on 2 GPUs"), joined():
        pass
