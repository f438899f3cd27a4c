"""Several processes fit a model together, and end where one alone would, but for rounding."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import ConfigError, StepFailed
from pipeline.recommend.base import Recommender
from pipeline.recommend.models.llm import LanguageModel
from pipeline.training.distributed import ALONE, Processes, joined
from pipeline.training.launch import launch
from tests.recommend.test_blend import blend
from tests.recommend.test_llm import SMALL
from tests.recommend.test_llm import World as Told
from tests.recommend.test_recommenders import World
from tests.recommend.test_trained import NAMES, made

# Dropout is each process's own; without it, two draw what one does. Sampled where that is another path.
SETTINGS: dict[str, dict[str, Any]] = {
    "two_tower": {"dropout": 0.0, "hard_negatives": 0, "in_batch_negatives": True, "batch_rows": 33},
    "sequence": {"dropout": 0.0, "id_dropout": 0.0, "full_softmax_items": 10, "negatives": 40},
    "graph": {"max_candidates": 30, "batch_users": 65},
}
LLM = SMALL.model_copy(update={"max_epochs": 3, "id_dropout": 0.0})
ALIKE = (*NAMES, "llm")


def fit(name: str, processes: Processes) -> list[np.ndarray]:
    """Losses and NDCG@10 of the epochs, of a blend its weights; and the vectors."""
    world: World | Told = World()
    model: Recommender
    if name == "blend":
        # Of which every process fits the second alone.
        model = blend("elsa", "bpr")
    elif name == "llm":
        world, model = Told(), LanguageModel(LLM, 0, 1)
    else:
        model = made(name, max_epochs=3, evaluate_every=1, clip=0.5, **SETTINGS.get(name, {}))
    for one in (model, *model.members.values()):
        one.processes = processes
    found = model.fit(world.content, world.train, world.validation)
    curve = [[epoch["loss"], epoch["ndcg@10"]] for epoch in found.curve]
    learned = curve or list(found.settings.values())
    return [np.array(learned), model.item_vectors, model.user_vectors(world.train)]


def fit_all(folder: Path) -> None:
    """What every process has, of each model."""
    with joined() as processes:
        for name in (*ALIKE, "blend"):
            np.savez(folder / f"{name}-{processes.rank}.npz", *fit(name, processes))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("processes")
    launch(2, 2, fit_all, found)
    return found


def read(path: Path) -> list[np.ndarray]:
    with np.load(path) as file:
        return list(file.values())


@pytest.mark.parametrize("name", ALIKE)
def test_two_processes_learn_what_one_does(name: str, folder: Path) -> None:
    for one, two in zip(fit(name, ALONE), read(folder / f"{name}-0.npz"), strict=True):
        np.testing.assert_allclose(one, two, rtol=2e-3, atol=2e-3 * np.abs(one).max())


@pytest.mark.parametrize("name", [*ALIKE, "blend"])
def test_all_processes_have_the_same(name: str, folder: Path) -> None:
    for one, two in zip(read(folder / f"{name}-0.npz"), read(folder / f"{name}-1.npz"), strict=True):
        assert one.tobytes() == two.tobytes()


def test_processes_that_do_not_go_on_from_the_same_epoch_are_refused() -> None:
    class Beside(Processes):
        """One of two, where the other has an epoch already."""

        def sum(self, numbers: Sequence[float]) -> list[float]:
            return [2 * number + 1 for number in numbers]

    with pytest.raises(StepFailed, match="do not go on from the same epoch"):
        fit("elsa", Beside(0, 2))


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    with pytest.raises(ConfigError, match="3 processes fit a model on 2 GPUs"), joined():
        pass
