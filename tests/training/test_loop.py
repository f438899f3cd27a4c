"""The one epoch loop, by a learner small enough to see through, and by each of the five that use it."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoTokenizer, BertConfig, BertModel

from pipeline.config.training import Schedule
from pipeline.encoders.finetune import adapt
from pipeline.encoders.text.kinds.transformer import TransformerText
from pipeline.encoders.weights import locate
from pipeline.evaluation.metrics import validation_metric
from pipeline.fusion.fit import fit as fit_fusion
from pipeline.fusion.user_attention import fit as fit_attention
from pipeline.rerank.fit import fit_ranker
from pipeline.training.context import Context, Epoch, Learner, OnEpoch, Scratch, Validation
from pipeline.training.loop import FitState, fit
from tests.conftest import ROOT
from tests.encoders.finetune import test_adapt as adapted
from tests.fusion import test_kinds as fusions
from tests.fusion import test_user_attention as attention
from tests.fusion.planted import planted
from tests.recommend.test_recommenders import World
from tests.recommend.test_trained import made
from tests.rerank import test_rerank as rerank

SCHEDULE = Schedule(max_epochs=12, patience_epochs=3, evaluate_every=1, precision="float32")
# Kills itself after its second epoch.
KILLED = """
import os, signal, sys
from pathlib import Path
from tests.training.test_loop import FITS, scratch_in

def on_epoch(epoch):
    if epoch["epoch"] == 2:
        os.kill(os.getpid(), signal.SIGKILL)

FITS[sys.argv[1]](scratch_in(Path(sys.argv[2]), on_epoch), Path(sys.argv[2]))
"""


class Interrupted(BaseException):
    pass


def interrupt(epoch: Epoch) -> None:
    if epoch["epoch"] == 2:
        raise Interrupted


def scratch_in(folder: Path, on_epoch: OnEpoch | None = None) -> Context:
    return Context(scratch=Scratch(folder / "fit.safetensors", 0), on_epoch=on_epoch)


class Walk(Learner[float]):
    """One number that goes where its batches say."""

    def __init__(self, targets: list[float], batches: int = 2) -> None:
        self.number = torch.zeros(1, requires_grad=True)
        self.generator = np.random.default_rng(0)
        self.targets, self.batches, self.steps = targets, batches, 0
        self._weights = {"number": self.number}
        self._optimizers = [torch.optim.Adam([self.number], lr=0.1)]
        self._generators = [self.generator]

    def _batches(self) -> Iterator[float]:
        target = self.targets[min(self.epoch, len(self.targets)) - 1]
        return (target + float(self.generator.normal()) / 100 for _ in range(self.batches))

    def _loss(self, batch: float) -> Tensor:
        self.steps += 1
        return (self.number - batch).square().sum()


def walked(learner: Walk, context: Context | None = None, **schedule: float) -> FitState:
    def measure() -> Epoch:
        return {"height": float(learner.number.detach()), "depth": -float(learner.number.detach())}

    validation = Validation("height", measure)
    return fit(learner, SCHEDULE.model_copy(update=schedule), validation, context)


def test_it_stops_by_patience_and_leaves_the_best_epochs_weights() -> None:
    learner = Walk([1, 1, 1, 1, -9])
    state = walked(learner)
    heights = [entry["height"] for entry in state.curve]
    assert state.epoch == int(np.argmax(heights)) + 1 == 4
    assert len(state.curve) == 4 + 3
    assert float(learner.number.detach()) == state.score == max(heights)


def test_the_named_number_chooses_the_epoch_and_the_start_may_win() -> None:
    for metric, sign in (("height", 1), ("depth", -1)):
        learner = Walk([1])
        measure = lambda learner=learner: {  # noqa: E731
            "height": float(learner.number.detach()),
            "depth": -float(learner.number.detach()),
        }
        state = fit(learner, SCHEDULE, Validation(metric, measure, from_start=True))
        assert (state.epoch > 0) == (sign > 0)
        assert (float(learner.number.detach()) == 0) == (sign < 0)
        assert "loss" not in state.curve[0]


def test_without_validation_it_takes_all_epochs_and_with_nothing_to_learn_none() -> None:
    learner = Walk([1])
    assert len(fit(learner, SCHEDULE).curve) == SCHEDULE.max_epochs
    idle = Walk([1], batches=0)
    assert fit(idle, SCHEDULE).curve == []
    assert float(idle.number.detach()) == 0


def test_what_is_done_is_not_done_again_and_who_watches_hears_of_all_of_it(tmp_path: Path) -> None:
    whole = Walk([1, 1, 1, 1, -9])
    expected = walked(whole, averaging=0.5)
    with pytest.raises(Interrupted):
        walked(Walk([1, 1, 1, 1, -9]), scratch_in(tmp_path, interrupt), averaging=0.5)
    epochs: list[float] = []
    again = Walk([1, 1, 1, 1, -9])
    state = walked(again, scratch_in(tmp_path, lambda entry: epochs.append(entry["epoch"])), averaging=0.5)
    assert state.curve == expected.curve
    assert again.number.detach().numpy().tobytes() == whole.number.detach().numpy().tobytes()
    assert again.steps == whole.steps - 2 * 2
    assert epochs == [entry["epoch"] for entry in expected.curve]


def test_a_fit_by_another_metric_begins_anew(tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        walked(Walk([1]), scratch_in(tmp_path, interrupt))
    learner = Walk([1])
    fit(learner, SCHEDULE, Validation("other", lambda: {"other": 0.0}), scratch_in(tmp_path))
    # One epoch is as good as the next, so patience ends it; none of them was another fit's.
    assert learner.steps == 2 * (1 + SCHEDULE.patience_epochs)


def recommender(context: Context, folder: Path) -> object:
    model, world = made("lightgcn", max_epochs=5, evaluate_every=1), World()
    model.scratch = context.scratch
    model.fit(world.content, world.train, world.validation, on_epoch=context.on_epoch)
    return model.item_vectors.tobytes()


def fusion(context: Context, folder: Path) -> object:
    shards, projected = folder / "shards", folder / "projected"
    projected.mkdir(exist_ok=True)
    material = replace(planted(shards).material, context=context)
    fitted = fit_fusion(fusions.settings("attention", {"max_epochs": 4, "pairs": 512}), material, projected)
    return fitted.curve, [value.tobytes() for value in fitted.fusion.tensors().values()]


def history(context: Context, folder: Path) -> object:
    fitted = fit_attention(attention.vectors(), attention.drifting(), attention.HALF_LIFE, context)
    return fitted.epoch, fitted.best, [value.item() for value in fitted.attention.parameters()]


def ranker(context: Context, folder: Path) -> object:
    world = rerank.World()
    train, validation = rerank.bare(world.train), rerank.bare(world.validation)
    fitted = fit_ranker(world.first, train, rerank.SETTINGS, context, validation)
    assert fitted is not None
    return fitted[1], [value.numpy().tobytes() for value in fitted[0].network.state_dict().values()]


def encoder(context: Context, folder: Path) -> object:
    weights = folder / "bert"
    if not weights.exists():
        torch.manual_seed(0)
        shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
        BertModel(BertConfig(vocab_size=30_522, **shape)).save_pretrained(weights)
        AutoTokenizer.from_pretrained(locate(TransformerText().weights)).save_pretrained(weights)
    network = adapted.encoder_of(weights, epochs=4)
    task = replace(adapted.task_of(network, adapted.pairs_of_tastes(60)), context=context)
    return adapt.train(network, task, folder), (folder / adapt.FILE).read_bytes()


FITS: dict[str, Callable[[Context, Path], object]] = {
    "recommender": recommender, "fusion": fusion, "history": history, "ranker": ranker, "encoder": encoder,
}  # fmt: skip


@pytest.mark.parametrize("name", FITS)
def test_each_goes_on_where_it_was_interrupted_and_ends_with_the_same_bytes(name: str, tmp_path: Path) -> None:
    whole = FITS[name](Context(), tmp_path)
    with pytest.raises(Interrupted):
        FITS[name](scratch_in(tmp_path, interrupt), tmp_path)
    assert list(tmp_path.glob("*fit.safetensors"))
    epochs: list[float] = []
    assert FITS[name](scratch_in(tmp_path, lambda entry: epochs.append(entry["epoch"])), tmp_path) == whole
    assert epochs[-1] > 2


@pytest.mark.parametrize("name", ["fusion", "ranker"])
def test_a_fit_that_is_killed_goes_on_and_ends_with_the_same_bytes(name: str, tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-c", KILLED, name, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert list(tmp_path.glob("*fit.safetensors"))
    assert FITS[name](scratch_in(tmp_path), tmp_path) == FITS[name](Context(), tmp_path)


def test_the_gates_metric_chooses_the_epoch_where_another_would_choose_another() -> None:
    world, chosen = World(), {}
    for metric in ("ndcg@10", "recall@20"):
        model = made("elsa", max_epochs=12, evaluate_every=1, patience_epochs=12)
        model.metric = metric
        fitted = model.fit(world.content, world.train, world.validation)
        values = [entry[metric] for entry in fitted.curve]
        assert fitted.chosen_epochs == int(np.argmax(values)) + 1
        chosen[metric] = fitted.chosen_epochs
    assert chosen["ndcg@10"] != chosen["recall@20"]


def test_a_metric_that_no_user_has_leaves_the_choice_to_ndcg_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "medley")
    validation_metric.cache_clear()
    for _ in range(2):
        assert validation_metric("coverage@10") == "ndcg@10"
    assert validation_metric("mrr@7") == "mrr@7"
    assert [record.message for record in caplog.records] == [
        "validation chooses by ndcg@10: the gate's coverage@10 is no metric of single users"
    ]
