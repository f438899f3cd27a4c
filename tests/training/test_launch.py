"""The processes of a fit start together, end together, and go on together after a kill; the first of them writes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import ConfigError, StepFailed
from pipeline.recommend.models.svd import SvdSettings
from pipeline.steps import fuse, train
from pipeline.training.context import Epoch, Scratch
from pipeline.training.distributed import joined
from pipeline.training.launch import launch
from tests.conftest import ROOT
from tests.planted_night import CONFIG, planted_night
from tests.recommend.test_recommenders import World
from tests.recommend.test_trained import made

pytestmark = pytest.mark.slow

# A process that would outlive the signal, as it has a handler of its own.
HELD = """
import signal, sys
from pathlib import Path
from pipeline.errors import StepFailed
from pipeline.training.launch import launch
from tests.training.test_launch import be_told
signal.signal(signal.SIGTERM, lambda *_: None)
try:
    launch(2, 2, be_told, Path(sys.argv[1]))
except StepFailed as error:
    print(error)
"""


def refuse(rank: int) -> None:
    with joined() as processes:
        if processes.rank == rank:
            raise ConfigError("the key is wrong; say another")
        processes.sum([1.0])


def vanish(rank: int) -> None:
    with joined() as processes:
        if processes.rank == rank:
            os.kill(os.getpid(), signal.SIGKILL)
        processes.sum([1.0])


def fit(folder: Path, killed_after: int) -> None:
    """Leaves the vectors of every process in the folder, unless it is killed."""

    def on_epoch(epoch: Epoch) -> None:
        if epoch["epoch"] == killed_after and not (folder / "killed").exists() and processes.rank == 0:
            (folder / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)

    world = World()
    with joined() as processes:
        model = made("two_tower", max_epochs=4, evaluate_every=1)
        model.processes, model.scratch = processes, Scratch(folder / "fit.safetensors", 0)
        model.fit(world.content, world.train, world.validation, on_epoch=on_epoch)
        (folder / f"vectors-{processes.rank}").write_bytes(model.item_vectors.tobytes())


def test_what_one_process_says_is_said_once_and_as_it_would_be_alone() -> None:
    for rank in (0, 1):
        with pytest.raises(ConfigError, match=r"^the key is wrong; say another$"):
            launch(2, 2, refuse, rank)


def test_a_process_that_is_killed_ends_the_others_in_one_sentence() -> None:
    with pytest.raises(StepFailed, match=r"^process 1 of the fit was ended by SIGKILL; .* run the step again"):
        launch(2, 2, vanish, 1)


def be_told(folder: Path) -> None:
    with joined() as processes:
        processes.sum([1.0])
        if processes.rank == 0:
            os.kill(os.getppid(), signal.SIGTERM)
        for _ in range(100):
            time.sleep(0.1)
        (folder / "ended").touch()


def test_a_signal_ends_the_fit_and_what_waits_for_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELD, tmp_path], capture_output=True, text=True, timeout=300, cwd=ROOT, check=False
    )
    assert (done.returncode, done.stdout) == (0, "the fit was ended by SIGTERM; run the step again to go on\n"), done
    assert not (tmp_path / "ended").exists()


def test_a_fit_of_two_that_was_killed_ends_with_the_same_bytes(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    launch(2, 2, fit, whole, 0)
    with pytest.raises(StepFailed, match="SIGKILL"):
        launch(2, 2, fit, cut, 2)
    assert not (cut / "vectors-0").exists()
    launch(2, 2, fit, cut, 2)
    expected = (whole / "vectors-0").read_bytes()
    assert {path.read_bytes() for path in (whole / "vectors-1", cut / "vectors-0", cut / "vectors-1")} == {expected}


def test_the_step_trains_in_as_many_processes_as_are_asked_for(tmp_path: Path) -> None:
    night = planted_night(tmp_path)
    fuse.run(night)
    alone = train.run(night)
    config = CONFIG.model_copy(update={"train": CONFIG.train.model_copy(update={"processes": 2})})
    two = replace(night, config=config)
    first = train.run(two)
    assert first.digest != alone.digest
    assert train.run(two).skipped
    again = train.run(replace(two, full=True))
    assert not again.skipped
    assert again.outputs == first.outputs
    assert [path.name for path in (tmp_path / "models").iterdir() if path.is_dir()].count(first.digest) == 1
    svd, one = (CONFIG.model_copy(update={"train": SvdSettings(processes=processes)}) for processes in (2, 1))
    assert train.run(replace(night, config=svd)).digest == train.run(replace(night, config=one)).digest
