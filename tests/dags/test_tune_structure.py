"""The search's DAG is one bounded task, started by hand; its form is the section `tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.config import leaves

DESCRIBE = """
dag = parse(sys.argv[1], "tune.py")["TUNE"]
(task,) = dag.tasks
print(json.dumps({
    "task": [task.task_id, task.pool, task.retries, task.execution_timeout.total_seconds()],
    "limits": [dag.max_active_runs, dag.catchup, dag.schedule],
    "params": {name: [param.value, param.description] for name, param in dag.params.items()},
}))
"""
COMMAND = """
import medley_verbs
from types import SimpleNamespace
dag = parse(sys.argv[1], "tune.py")
asked = []
params = {name: param.value for name, param in dag["MEDLEY"].params.items()}
given = {**params, "tune.trials": 3, "tune.space": {"train.new_item_share": [0.1, 0.2]}, "settings": {"seed": 1}}
medley_verbs.get_current_context = lambda: {"params": given, "dag_run": SimpleNamespace(conf=None)}

def run(command, stdout, folder):
    asked.append([command, str(folder)])
    os.write(stdout, b"{}")
    return 0, ""

medley_verbs.run = run
dag["MEDLEY"].run("tune")
print(json.dumps(asked))
"""
YAML = """
extract: {audio: null}
tune: {trials: 7}
nightly: {schedule: "30 2 * * *", retries: 4, timeout_seconds: 99}
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shop") / "medley.yaml"
    path.write_text(YAML)
    return path


def test_it_is_one_heavy_task_with_the_nights_limits_that_nothing_schedules(with_airflow: Any, config: Path) -> None:
    found = with_airflow(DESCRIBE, str(config))
    assert found["task"] == ["tune", "medley_heavy", 4, 99]
    assert found["limits"] == [1, False, None]
    assert set(found["params"]) == {"settings", *(path for path, _ in leaves() if path.startswith("tune."))}
    assert found["params"]["tune.trials"] == [
        None,
        "fits of one search, those of earlier calls among them. In the YAML: 7",
    ]


def test_only_what_was_changed_reaches_the_verb(with_airflow: Any, config: Path) -> None:
    ((command, folder),) = with_airflow(COMMAND, str(config))
    assert command[4:] == [
        *("tune", "--json", "-c", str(config)),
        *("-s", "tune.trials=3", "-s", 'tune.space={"train.new_item_share": [0.1, 0.2]}', "-s", "seed=1"),
    ]
    assert folder == str(config.parent)
