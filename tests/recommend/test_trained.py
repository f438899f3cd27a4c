"""The one loop: it goes on after a kill, serves averaged weights, clips, casts, and begins at an earlier fit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.interactions import Int64s
from pipeline.recommend.models.lightgcn import LightGCN, LightGcnSettings
from pipeline.recommend.trained import Trained
from pipeline.recommend.warm_start import Before
from pipeline.training.context import Scratch
from tests.conftest import ROOT
from tests.recommend.test_recommenders import ITEMS, USERS, World, recommender

NAMES = ("two_tower", "sequence", "bpr", "vbpr", "lightgcn", "graph", "elsa")
# Trains until it is killed, and says in its scratch file how far it came.
KILLED = """
import sys
from pathlib import Path
from pipeline.training.context import Scratch
from tests.recommend.test_trained import long_fit
from tests.recommend.test_recommenders import World
long_fit(World(), Scratch(Path(sys.argv[1]), 0))
"""


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def made(name: str, **settings: Any) -> Trained[Any]:
    model = recommender(name, **settings)
    assert isinstance(model, Trained)
    return model


def vectors(model: Trained[Any], world: World) -> bytes:
    return model.item_vectors.tobytes() + model.user_vectors(world.train).tobytes()


def long_fit(world: World, scratch: Scratch | None) -> tuple[list[dict[str, float]], bytes]:
    """A fit of some seconds, on the validation part."""
    model = made("two_tower", max_epochs=25, patience_epochs=25)
    model.scratch = scratch
    fit = model.fit(world.content, world.train, world.validation)
    return fit.curve, vectors(model, world)


def test_a_fit_killed_in_mid_training_goes_on_and_ends_with_the_same_bytes(world: World, tmp_path: Path) -> None:
    path = tmp_path / "fit.safetensors"
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], cwd=ROOT, start_new_session=True)
    while not path.exists():
        assert child.poll() is None
        time.sleep(0.01)
    os.killpg(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert long_fit(world, Scratch(path, 0)) == long_fit(world, None)


class Interrupted(Exception):
    pass


def interrupt(after: int) -> Callable[[dict[str, float]], None]:
    def on_epoch(epoch: dict[str, float]) -> None:
        if epoch["epoch"] == after:
            raise Interrupted

    return on_epoch


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("searched", [True, False])
def test_every_model_goes_on_where_it_was_interrupted(name: str, searched: bool, world: World, tmp_path: Path) -> None:
    validation, epochs = (world.validation, None) if searched else (None, 5)
    scratch = Scratch(tmp_path / "fit.safetensors", 0)
    broken = made(name, max_epochs=6, evaluate_every=2)
    broken.scratch = scratch
    with pytest.raises(Interrupted):
        broken.fit(world.content, world.train, validation, epochs, interrupt(3))
    told: list[float] = []
    found, steps = [], []
    for place in (scratch, None):
        model = made(name, max_epochs=6, evaluate_every=2)
        model.scratch = place
        taken = count_steps(model)
        fit = model.fit(world.content, world.train, validation, epochs, lambda epoch: told.append(epoch["epoch"]))
        found.append((fit.chosen_epochs, fit.curve, vectors(model, world)))
        steps.append(len(taken))
    assert found[0] == found[1]
    # What was done is not done again, and whoever watches is told of all of it.
    assert 0 < steps[0] < steps[1]
    assert told == [*range(1, len(fit.curve) + 1)] * 2


def count_steps(model: Trained[Any]) -> list[object]:
    """Grows with every step that the model takes."""
    taken: list[object] = []
    own = model._learn

    def counted(batch: object, *given: Any) -> float:
        taken.append(batch)
        return own(batch, *given)

    model._learn = counted  # type: ignore[method-assign]
    return taken


def test_what_another_fit_left_is_not_gone_on_from(world: World, tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "fit.safetensors", 0)
    other = made("lightgcn")
    other.seed, other.scratch = 1, scratch
    other.fit(world.content, world.train, epochs=2)
    found = []
    for place in (scratch, None):
        model = made("lightgcn")
        model.scratch = place
        model.fit(world.content, world.train, epochs=2)
        found.append(vectors(model, world))
    assert found[0] == found[1]
    scratch.path.write_bytes(b"no tensors")
    model = made("lightgcn")
    model.scratch = scratch
    model.fit(world.content, world.train, epochs=2)
    assert vectors(model, world) == found[1]


def test_the_served_weights_are_the_running_mean_and_training_goes_on_from_its_own(world: World) -> None:
    """One step an epoch, so that every step's weights can be seen."""
    seen: dict[float, list[torch.Tensor]] = {}
    for averaging in (0.0, 0.8):
        model = made("lightgcn", batch_rows=10_000, averaging=averaging)
        steps: list[torch.Tensor] = []
        model.fit(
            world.content,
            world.train,
            epochs=5,
            on_epoch=lambda _, model=model, steps=steps: steps.append(model._weights["ids"].detach().clone()),  # type: ignore[misc]
        )
        seen[averaging] = [*steps, model._weights["ids"].detach()]
    for plain, beside in zip(seen[0.0][:5], seen[0.8][:5], strict=True):
        torch.testing.assert_close(plain, beside, rtol=0, atol=0)
    mean = seen[0.8][0]
    for weights in seen[0.8][1:5]:
        mean = 0.8 * mean + 0.2 * weights
    torch.testing.assert_close(seen[0.8][5], mean)
    assert not torch.equal(seen[0.8][5], seen[0.8][4])


@pytest.mark.parametrize("name", ["lightgcn", "two_tower"])
def test_no_gradient_is_longer_than_the_clip(name: str, world: World) -> None:
    for clip, short in ((0.0, False), (1e-3, True)):
        model = made(name, clip=clip)
        model.fit(world.content, world.train, epochs=1)
        squares = [float(weight.grad.square().sum()) for weight in model._weights.values() if weight.grad is not None]
        assert (sum(squares) ** 0.5 <= 1.001e-3) == short


@pytest.mark.parametrize("name", NAMES)
def test_in_half_precision_every_model_learns_about_the_same(name: str, world: World) -> None:
    found = []
    for precision in ("float32", "bfloat16"):
        model = made(name, precision=precision)
        model.fit(world.content, world.train, epochs=3)
        scores = (model.user_vectors(world.train) @ model.item_vectors.T)[: USERS - 1]
        assert np.isfinite(scores).all()
        found.append((scores - scores.mean(axis=1, keepdims=True)).ravel())
    assert np.corrcoef(*found)[0, 1] > 0.9


def earlier_fit(weights: Mapping[str, Tensor], rows: Mapping[str, Int64s]) -> Before:
    """Of as many items and users as the world has, whose vectors nobody asks for."""
    none = np.zeros((0, 0), np.float32)
    return Before(weights, lambda: (none, none), rows, {"items": ITEMS, "users": USERS}, True)


@pytest.mark.parametrize("name", NAMES)
def test_a_warm_start_begins_at_the_earlier_weights_of_the_same_items_and_users(name: str, world: World) -> None:
    earlier = made(name)
    earlier.fit(world.content, world.train, epochs=2)
    weights = {name: weight.detach().clone() for name, weight in earlier._weights.items()}
    # Item 0 is new today, and users are counted the other way round.
    rows = {"items": np.r_[-1, np.arange(1, ITEMS)], "users": np.arange(USERS)[::-1].copy()}
    model = made(name)
    model._prepare(world.content, world.train)
    drawn = {name: weight.detach().clone() for name, weight in model._weights.items()}
    earlier_fit(weights, rows).begin(model._weights, model.tables)
    for weight, now in model._weights.items():
        of = model.tables.get(weight, ())
        expected = weights[weight].clone()
        if of == ("users", "items"):
            users, items = weights[weight][:USERS].flip(0), weights[weight][USERS:].clone()
            items[0] = drawn[weight][USERS]
            expected = torch.cat([users, items])
        elif of == ("users",):
            expected = expected.flip(0)
        elif of == ("items",):
            expected[0] = drawn[weight][0]
        torch.testing.assert_close(now.detach(), expected, rtol=0, atol=0)


def test_a_fit_begins_at_what_it_is_given(world: World) -> None:
    settings = LightGcnSettings(width=16, batch_rows=10_000, learning_rate=1e-9)
    earlier = LightGCN(settings, 0, 1)
    earlier.fit(world.content, world.train, epochs=1)
    rows = {"items": np.arange(ITEMS), "users": np.arange(USERS)}
    model = LightGCN(settings, 5, 1)
    model.before = earlier_fit(earlier._weights, rows)
    model.fit(world.content, world.train, epochs=1)
    np.testing.assert_allclose(model.item_vectors, earlier.item_vectors, atol=1e-6)
