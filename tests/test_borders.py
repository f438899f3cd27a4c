"""Kinds of a user's own that raise, hang, or give what they must not: the night says which, and where."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.artefacts.vectors import check_vectors
from pipeline.config.fuse import FUSIONS
from pipeline.config.rerank import Rerank
from pipeline.config.train import RECOMMENDERS
from pipeline.errors import MediaError, StepFailed, border
from pipeline.steps import evaluate, fuse, rerank, train
from tests.conftest import AS_OF, ROOT, Shop, medley, options
from tests.documents import block
from tests.packages import write_package
from tests.planted_night import CONFIG, planted_night

Install = Callable[..., Path]
FUSION, MODEL, ENCODER = block("own fusion"), block("own recommender"), block("own encoder")


def test_an_error_that_is_not_medleys_is_a_sentence_with_its_place() -> None:
    with (
        pytest.raises(StepFailed, match=r"model x failed \(KeyError: 'a', at errors\.py:\d+ > test_borders\.py:\d+\)"),
        border("model x"),
    ):
        {}["a"]
    with pytest.raises(MediaError), border("model x"):
        raise MediaError("its own sentence")


UNIT = np.eye(3, 4, dtype=np.float32)


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        (UNIT[:2], r"gave shape \(2, 4\); it must give 3 rows of 4 numbers"),
        (UNIT[:, :3], r"gave shape \(3, 3\)"),
        (UNIT[0], r"gave shape \(4,\)"),
        (UNIT.astype("U"), "gave <U"),
        (np.where(UNIT == 1, np.inf, 0), "gave 3 of 3 rows that are not finite"),
        (np.where([[True, False, False, False]], np.nan, UNIT), "gave 3 of 3 rows that are not finite"),
        (UNIT * [[1], [1], [1.02]], r"gave a vector of norm 1\.02; its vectors must be of unit norm"),
        (UNIT * [[1], [0.98], [1]], r"gave a vector of norm 0\.98"),
    ],
)
def test_vectors_that_are_not_what_they_must_be_are_described(vectors: np.ndarray, said: str) -> None:
    with pytest.raises(StepFailed, match=f"kind {said}"):
        check_vectors("kind", vectors, 3, 4, unit=True)


def test_a_vector_may_be_missing_and_of_a_norm_that_float16_leaves() -> None:
    check_vectors("kind", np.vstack([UNIT[:2] * 1.005, [[np.nan] * 4]]), 3, 4, unit=True)
    check_vectors("kind", UNIT * 7, 3)
    with pytest.raises(StepFailed, match="not finite"):
        check_vectors("kind", np.vstack([UNIT[:2], [[np.nan] * 4]]), 3)


@pytest.mark.parametrize(
    ("sound", "broken", "said"),
    [
        ("return unit_or_missing(", "return 2 * unit_or_missing(", r"fusion spread gave a vector of norm 2"),
        ("projected)), shares", "projected))[:-1], shares", r"fusion spread gave shape \(\d+, \d+\); it must give"),
        ("return unit_or_missing(", "return unit(", r"fusion spread failed .*NameError.*acme_fusion\.py:\d+\)"),
        ("shares.astype(np.float32)", "shares[:, :1]", "fusion spread, for its shares, gave shape"),
    ],
)
def test_a_fusion_of_ones_own_is_checked(install: Install, tmp_path: Path, sound: str, broken: str, said: str) -> None:
    assert sound in FUSION
    install("acme_fusion", FUSION.replace(sound, broken), "[medley.fusions]\nspread = acme_fusion:Spread\n")
    settings = FUSIONS.read({"kind": "spread", "width": 16})
    night = planted_night(tmp_path / "workspace", CONFIG.model_copy(update={"fuse": settings}))
    with pytest.raises(StepFailed, match=said):
        fuse.run(night)


@pytest.mark.parametrize(
    ("sound", "broken", "said"),
    [
        (
            "return Fit()",
            "raise ValueError('no\\nway')",
            r"model acme_axes failed \(ValueError: no way, at .*> acme_recommenders\.py:\d+\)",
        ),
        ("random_state=0)[2].T", "random_state=0)[2].T[1:]", r"failed \(ValueError.*> acme_recommenders\.py:\d+ > .*"),
        (
            "self.item_vectors, np.float32)",
            "self.item_vectors, np.float32)[:, 1:]",
            "for users, gave shape",
        ),
        ("self.item_vectors, np.float32)", "self.item_vectors, np.float32) / 0", "not all finite|not finite"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning", "ignore:divide by zero:RuntimeWarning")
def test_a_recommender_of_ones_own_is_checked_and_as_a_baseline_left_out(
    install: Install, tmp_path: Path, sound: str, broken: str, said: str
) -> None:
    assert sound in MODEL
    points = "[medley.recommenders]\nacme_axes = acme_recommenders:Axes\n"
    install("acme_recommenders", MODEL.replace(sound, broken), points)
    own = RECOMMENDERS.read({"model": "acme_axes", "width": 8})
    other = RECOMMENDERS.read({"model": "als", "factors": 8})
    judged = CONFIG.evaluate.model_copy(update={"baselines": (own,)})
    night = planted_night(tmp_path / "workspace", CONFIG.model_copy(update={"train": own}))
    fuse.run(night)
    with pytest.raises(StepFailed, match=said):
        train.run(night)
    night = planted_night(
        tmp_path / "other",
        CONFIG.model_copy(update={"train": other, "evaluate": judged, "rerank": Rerank(enabled=False)}),
    )
    fuse.run(night)
    train.run(night)
    rerank.run(night)
    evaluate.run(night)
    metrics = night.workspace.read_json(f"{night.folder}/metrics.json")
    assert metrics is not None
    assert "not run: " in str(metrics)


ENTRY = "[medley.encoders]\nacme = acme_encoders:Trigrams\n"
# The command line, with its limits lowered; what stands before the arguments is run first.
LIMITED = """
import sys
from pipeline import heartbeat
from pipeline.cli import main
from pipeline.encoders import inputs
heartbeat.GRACE_SECONDS = inputs.DECODE_SECONDS = 2
main()
"""


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("decode", r"medley: encoder .*: text of item \S+ is not decoded after 2 s; take it out"),
        ("encode", r"extract +has not ended after \d+ s, longer than nightly\.timeout_seconds allows"),
    ],
)
def test_an_encoder_that_hangs_ends_the_step_by_its_name(tmp_path: Path, shop: Shop, method: str, said: str) -> None:
    hanging = f"\n\ndef hang(*_):\n    __import__('threading').Event().wait()\n\n\nTrigrams.{method} = hang\n"
    site = write_package(tmp_path / "site", "acme_encoders", ENCODER + hanging, ENTRY)
    only = ("extract.text={encoder: acme}", "extract.image=null", "extract.audio=null", "nightly.timeout_seconds=2")
    arguments = ("-c", shop.config, "--run-id", "one", *options(f"workspace={tmp_path}/workspace", *only))
    environment = {**os.environ, "PYTHONPATH": str(site)}
    medley("ingest", *arguments, "--as-of", AS_OF, env=environment)
    command = [sys.executable, "-c", LIMITED, "extract", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert re.search(said, done.stderr), done.stderr
