"""Parsing the DAG is cheap and never fails: a scheduler does it again and again, perhaps with no ML package at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

HEAVY = {
    "torch",
    "torchvision",
    "faiss",
    "pandas",
    "transformers",
    "timm",
    "librosa",
    "sklearn",
    "duckdb",
    "pyarrow",
    "optuna",
}


@pytest.fixture(scope="module", params=["nightly.py", "tune.py"])
def parsed(request: pytest.FixtureRequest, with_airflow: Any) -> dict[str, Any]:
    return with_airflow(f"""
began = time.process_time()
parse(None, {request.param!r})
print(json.dumps({{"airflow": began, "seconds": time.process_time() - began, "modules": sorted(sys.modules)}}))
""")


def test_parsing_takes_a_fraction_of_the_time_that_importing_airflow_does(parsed: dict[str, Any]) -> None:
    assert parsed["seconds"] < parsed["airflow"] / 3


def test_parsing_imports_no_ml_package(parsed: dict[str, Any]) -> None:
    assert not HEAVY & set(parsed["modules"])


def test_a_missing_or_wrong_configuration_still_parses_and_is_never_scheduled(
    with_airflow: Any, tmp_path: Path
) -> None:
    files = [tmp_path / "absent.yaml"]
    for number, text in enumerate(
        ("trian: {}", "train: {budget_minutes: long}", "- a list", "a: [", "nightly: {schedule: 7}")
    ):
        files.append(tmp_path / f"{number}.yaml")
        files[-1].write_text(text)
    found = with_airflow(
        """
dags = [parse(config, file)[file.removesuffix(".py").upper()]
        for file in ("nightly.py", "tune.py") for config in sys.argv[1:]]
print(json.dumps([[dag.dag_id, dag.schedule, len(dag.tasks)] for dag in dags]))
""",
        *map(str, files),
    )
    assert found == [["medley_nightly", None, 11]] * len(files) + [["medley_tune", None, 1]] * len(files)


def test_a_dag_is_stored_with_its_parameters_once_and_not_once_a_task(with_airflow: Any) -> None:
    stored = with_airflow("""
from airflow.serialization.serialized_objects import DagSerialization
found = DagSerialization.to_dict(parse(None)["NIGHTLY"])
print(json.dumps({"bytes": len(json.dumps(found)), "params": [name for name, _ in found["dag"]["params"]],
                  "tasks": [task["__var"].get("params") for task in found["dag"]["tasks"]]}))
""")
    assert {"as_of", "settings", "train.model"} < set(stored["params"])
    assert stored["tasks"] == [None] * 11
    assert stored["bytes"] < 30_000
