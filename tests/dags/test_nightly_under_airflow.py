"""The night under a real Airflow: API server, scheduler with LocalExecutor and DAG processor, on a small shop."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from tests.conftest import manifest, medley
from tests.dags.services import DAGS, START_SECONDS, Airflow, failures

pytestmark = pytest.mark.slow

CONSUMER = """
import json, pathlib
from airflow.sdk import Asset, dag, task

INDEX = Asset("medley_index")

@dag(dag_id="consumer", schedule=[INDEX])
def consumer():
    @task
    def read(triggering_asset_events=None):
        (event,) = triggering_asset_events[INDEX]
        return json.loads((pathlib.Path(event.extra["path"]) / "card.json").read_text())["metric"]

    read()

consumer()
"""


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    home = tmp_path_factory.mktemp(f"airflow-{secrets.token_hex(4)}")
    shop = home / "shop"
    sample = [sys.executable, "-P", "-m", "pipeline.cli", "sample", str(shop), "--items", "60", "--users", "40"]
    subprocess.run(sample, check=True)
    config = shop / "medley.yaml"
    unscheduled = yaml.safe_load(config.read_text()) | {"nightly": {"schedule": "", "retry_delay_seconds": 1}}
    config.write_text(yaml.safe_dump(unscheduled))
    (home / "dags").mkdir()
    for file in DAGS.glob("*.py"):
        (home / "dags" / file.name).symlink_to(file)
    (home / "dags" / "consumer.py").write_text(CONSUMER)
    found = Airflow(home, config)
    try:
        found.start()
        yield found
    finally:
        found.stop()


@pytest.fixture(scope="module")
def night(airflow: Airflow) -> dict[str, Any]:
    conf = {
        "settings": {"fuse.width": 48, "note": "from the form"},
        "publish.gate.min_ratio": 0,
        "publish.gate.min_published_ratio": 0,
    }  # 60 items teach no model much
    return airflow.night(**conf)


@pytest.fixture(scope="module")
def current(night: dict[str, Any], airflow: Airflow) -> dict[str, Any]:
    """CURRENT.json after the first night."""
    return json.loads((airflow.config.parent / "workspace" / "CURRENT.json").read_text())


def test_a_triggered_night_succeeds_and_publishes(night: dict[str, Any], airflow: Airflow) -> None:
    assert night["state"] == "success", failures(airflow, night)
    assert (airflow.config.parent / "workspace" / "CURRENT.json").exists()


def test_extraction_is_mapped_under_readable_names(night: dict[str, Any], airflow: Airflow) -> None:
    names = [task["rendered_map_index"] for task in airflow.tasks(night) if task["task_id"] == "extract"]
    assert sorted(name.split()[0] for name in names) == ["audio", "image", "text"]
    assert all(name.split()[1].replace("-", "").isdigit() for name in names)


def test_a_run_keeps_the_id_and_the_now_of_its_dag_run(
    night: dict[str, Any], current: dict[str, Any], airflow: Airflow
) -> None:
    document = manifest(airflow.config.parent / "workspace", current["run_id"])
    assert datetime.fromisoformat(document["as_of"]) == datetime.fromisoformat(night["run_after"])
    assert current["run_id"] == "".join(c if c.isalnum() or c in "-_." else "-" for c in night["dag_run_id"])


def test_the_command_line_gives_the_same_bytes_for_every_artefact(
    night: dict[str, Any], current: dict[str, Any], airflow: Airflow, tmp_path: Path
) -> None:
    by_dag = manifest(airflow.config.parent / "workspace", current["run_id"])
    settings = (
        "-s",
        "fuse.width=48",
        "-s",
        "note=from the form",
        "-s",
        "publish.gate.min_ratio=0",
        "-s",
        "publish.gate.min_published_ratio=0",
    )
    elsewhere = ("-c", airflow.config, "-s", f"workspace={tmp_path / 'workspace'}", "--run-id", "by-hand")
    medley("run", "--as-of", by_dag["as_of"], *elsewhere, *settings)
    by_hand = manifest(tmp_path / "workspace", "by-hand")
    assert by_dag["artefacts"] == by_hand["artefacts"]
    assert by_dag["published"] == by_hand["published"] is not None


def test_a_published_index_updates_the_asset_and_starts_its_consumers(
    current: dict[str, Any], airflow: Airflow
) -> None:
    (event,) = airflow.ask("assets/events")["asset_events"]
    assert event["extra"]["digest"] == current["digest"]
    assert event["extra"]["recall"] == 1.0
    assert event["extra"]["path"] == str(airflow.config.parent / "workspace" / "index" / current["digest"])

    def consumed(dag: str) -> bool:
        runs = airflow.ask(f"dags/{dag}/dagRuns").get("dag_runs", [])
        return [(run["state"], run["run_type"]) for run in runs] == [("success", "asset_triggered")]

    for dag in ("consumer", "medley_export"):
        airflow.until(f"{dag} has run", lambda dag=dag: consumed(dag), START_SECONDS)
    exported = airflow.config.parent / "exported"
    assert json.loads((exported / "CURRENT.json").read_text())["digest"] == current["digest"]
    assert (exported / current["digest"] / "items.npy").exists()


def test_a_refused_night_fails_without_a_retry_and_updates_nothing(current: dict[str, Any], airflow: Airflow) -> None:
    refused = airflow.night(**{"settings": {"fuse.width": 48}, "publish.gate.min_ratio": 1000})
    tasks = {task["task_id"]: (task["state"], task["try_number"]) for task in airflow.tasks(refused)}
    assert tasks.pop("publish") == ("failed", 1)
    assert tasks.pop("extract")[0] == "skipped", "every shard is there: no process is started for one"
    assert tasks.pop("index_cells")[0] == "skipped", "every vector is compared: there are no cells"
    assert {state for state, _ in tasks.values()} == {"success"}
    assert "not published" in failures(airflow, refused)
    assert airflow.ask("assets/events")["total_entries"] == 1
    assert json.loads((airflow.config.parent / "workspace" / "CURRENT.json").read_text()) == current


def test_a_search_tries_settings_on_the_newest_run_and_changes_nothing_published(
    current: dict[str, Any], airflow: Airflow
) -> None:
    workspace = airflow.config.parent / "workspace"
    runs = len(list(workspace.glob("runs/*")))
    searched = airflow.trigger(
        "medley_tune", {"settings": {"train": {"model": "elsa", "max_epochs": 2}}, "tune.trials": 2}
    )
    assert searched["state"] == "success", failures(airflow, searched)
    (document,) = [json.loads(path.read_text()) for path in workspace.glob("tunes/*/tune.json")]
    assert [trial["state"] for trial in document["trials"]] == ["complete", "complete"]
    assert len(list(workspace.glob("runs/*"))) == runs
    assert json.loads((workspace / "CURRENT.json").read_text()) == current


def test_a_run_of_the_form_keeps_what_was_changed_and_follows_the_yaml_in_all_else_when_it_is_cleared(
    current: dict[str, Any], airflow: Airflow
) -> None:
    changed = {"publish.gate.min_ratio": 1000, "train.warm_start": "false", "settings": {"fuse.width": 48}}
    sent = airflow.form(**changed)
    assert len(sent) > 20
    run = airflow.night(**sent)
    its_own = {name: value for name, value in run["conf"].items() if value is not None}
    assert its_own == {**changed, "full": False}
    other = f"other than in {airflow.config}: publish.gate.min_ratio=1000 (there 1.0), fuse.width=48 (there 256)"
    assert airflow.said(run, "ingest", 1)[0] == airflow.said(run, "publish", 1)[0] == other

    before = airflow.config.read_text()
    edited = yaml.safe_load(before) | {"index": {"recommendations": 3}, "publish": {"gate": {"min_ratio": 2.0}}}
    airflow.config.write_text(yaml.safe_dump(edited))
    try:
        assert airflow.clear(run)["state"] == "failed", "1000 stays, though the YAML came to say 2"
    finally:
        airflow.config.write_text(before)
    assert airflow.said(run, "publish", 2)[0] == other.replace("there 1.0", "there 2.0")
    assert "not published" in failures(airflow, run)
    workspace = airflow.config.parent / "workspace"
    run_id = "".join(c if c.isalnum() or c in "-_." else "-" for c in run["dag_run_id"])
    index = json.loads((workspace / "runs" / run_id / "steps" / "index.json").read_text())["path"]
    lists = pq.read_table(workspace / index / "recommendations.parquet")
    assert max(lists["rank"].to_pylist()) == 3, "of the YAML as it is when the run is cleared, not as it was"


def test_a_wrong_value_is_refused_by_the_form(airflow: Airflow) -> None:
    answer = airflow.ask(
        "dags/medley_nightly/dagRuns", {"logical_date": None, "conf": {"publish.gate.min_ratio": "wide"}}
    )
    assert answer["status"] == 400
    assert "publish.gate.min_ratio" in answer["detail"]


@pytest.mark.parametrize(
    ("conf", "sentence"),
    [
        ({"fuse.width": 48}, "no parameter is called fuse.width; "),
        ({"settings": {"fuse.widht": 48}}, "unknown key fuse.widht; allowed here: "),
    ],
)
def test_a_wrong_setting_ends_the_first_task_with_one_sentence(
    current: dict[str, Any], airflow: Airflow, conf: dict[str, Any], sentence: str
) -> None:
    run = airflow.night(**conf)
    states = {task["task_id"]: task["state"] for task in airflow.tasks(run)}
    assert states["ingest"] == "failed"
    assert sentence in failures(airflow, run)
    assert json.loads((airflow.config.parent / "workspace" / "CURRENT.json").read_text()) == current
