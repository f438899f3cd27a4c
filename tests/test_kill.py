from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import faiss
import pyarrow.parquet as pq
import pytest

from pipeline.storage.documents import read_json
from tests.conftest import ANY_QUALITY, AS_OF, QUICK_MODEL, ROOT, Shop, edit, manifest, options

KILLS = 20
QUICK = options(*QUICK_MODEL, "rerank.max_epochs=2", "evaluate.bootstrap_samples=50", *ANY_QUALITY)


def start(shop: Shop, run_id: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pipeline.cli", "run", "-q", "-c", str(shop.config), "--run-id", run_id]
    return subprocess.Popen(
        [*command, "--as-of", AS_OF, *QUICK],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def readable(workspace: Path) -> str:
    """The published digest, after opening every file of its index as a consumer would."""
    current = read_json(workspace / "CURRENT.json")
    assert current is not None
    folder = workspace / current["index"]
    rows = pq.read_table(folder / "items.parquet").num_rows
    assert faiss.read_index(str(folder / "recommend.faiss")).ntotal == rows
    assert faiss.read_index(str(folder / "content.faiss")).ntotal == rows
    assert pq.read_table(folder / "users.parquet").num_rows > 0
    return str(current["digest"])


@pytest.mark.slow
def test_a_night_killed_at_any_moment_leaves_the_last_one_published_and_the_next_run_ends_the_same(
    published: Shop, tmp_path: Path
) -> None:
    """Every text and every setting of the fusion changes, so that each step of the killed nights has work to do."""
    changed = published.copy(tmp_path / "changed")
    edit(changed, lambda rows: [{**row, "blurb": row["blurb"] + " Reissued." if row["blurb"] else ""} for row in rows])
    before = readable(changed.workspace)
    undisturbed = changed.copy(tmp_path / "undisturbed")
    begin = time.monotonic()
    assert start(undisturbed, "whole").wait() == 0
    seconds = time.monotonic() - begin
    expected = manifest(undisturbed.workspace, "whole")
    expected_digest = str(expected["published"])
    moments = random.Random(0)
    killed = finished = 0
    victim = changed.copy(tmp_path / "victim")
    while killed < KILLS:
        night = start(victim, f"night-{killed}-{finished}")
        try:
            assert night.wait(moments.uniform(0, seconds)) == 0
        except subprocess.TimeoutExpired:
            os.killpg(night.pid, signal.SIGKILL)
            night.wait()
            killed += 1
            assert readable(victim.workspace) in (before, expected_digest)
            continue
        finished += 1
        assert manifest(victim.workspace, f"night-{killed}-{finished - 1}")["artefacts"] == expected["artefacts"]
        shutil.rmtree(victim.folder)
        victim = changed.copy(tmp_path / "victim")
    assert start(victim, "last").wait() == 0
    assert manifest(victim.workspace, "last")["artefacts"] == expected["artefacts"]
    assert readable(victim.workspace) == expected_digest
