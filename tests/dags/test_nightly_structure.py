"""The DAG is the night: its tasks are the verbs, in order, each bounded; its form is the configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import leaves

DESCRIBE = """
dag = parse(sys.argv[1])["NIGHTLY"]
tasks = {
    task.task_id: {
        "upstream": sorted(task.upstream_task_ids), "pool": task.pool, "retries": task.retries,
        "delay": task.retry_delay.total_seconds(), "timeout": task.execution_timeout.total_seconds(),
        "backoff": bool(task.retry_exponential_backoff), "mapped": task.is_mapped, "rule": task.trigger_rule.value,
        "queue": task.queue, "outlets": [outlet.name for outlet in task.outlets],
    }
    for task in dag.tasks
}
params = {name: dag.params.get_param(name) for name in dag.params}
shown = {name: [param.value, param.schema, param.description] for name, param in params.items()}
limits = [dag.max_active_runs, dag.catchup, dag.schedule]
print(json.dumps({"tasks": tasks, "params": shown, "limits": limits}))
"""
OPTIONS = """
import medley_verbs
from types import SimpleNamespace
medley, conf = parse(sys.argv[1], sys.argv[3])["MEDLEY"], json.loads(sys.argv[2])
params = {name: param.value for name, param in medley.params.items()}
context = {"params": params | (conf if sys.argv[4] == "True" else {}), "dag_run": SimpleNamespace(conf=conf)}
medley_verbs.get_current_context = lambda: context
try:
    print(json.dumps([list(medley._options()), medley._differences()]))
except medley_verbs.AirflowFailException as error:
    print(json.dumps(str(error)))
"""
YAML = """
name: a name
workspace: work
source: {params: {root: data, since: "1990"}}
extract: {audio: null}
threads: 3
ingest: {warn_only: [assert_most_rows_survive]}
publish: {gate: {min_ratio: 1.5}}
nightly:
  {schedule: "30 2 * * *", retries: 4, retry_delay_seconds: 7, timeout_seconds: 99,
   queues: {extract: gpu, train: gpu, index: large}}
"""
ORDER = ["ingest", "prepare", "extract", "fuse", "train", "rerank", "evaluate"]
ORDER += ["prepare_index", "index_cells", "index", "publish"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shop")


@pytest.fixture(scope="module")
def night(with_airflow: Any, folder: Path) -> dict[str, Any]:
    (folder / "medley.yaml").write_text(YAML)
    return with_airflow(DESCRIBE, str(folder / "medley.yaml"))


def test_the_tasks_are_the_verbs_in_order_and_encoders_are_prepared_before_any_bucket(night: dict[str, Any]) -> None:
    before = {task: described["upstream"] for task, described in night["tasks"].items()}
    assert before == {verb: ORDER[max(0, at - 1) : at] for at, verb in enumerate(ORDER)}


def test_steps_that_have_parts_are_mapped_and_nothing_to_make_is_no_failure(night: dict[str, Any]) -> None:
    assert [task for task, described in night["tasks"].items() if described["mapped"]] == ["extract", "index_cells"]
    after = {task: described["rule"] for task, described in night["tasks"].items() if task in ("fuse", "index")}
    assert after == {"fuse": "none_failed", "index": "none_failed"}
    assert {described["rule"] for task, described in night["tasks"].items() if task not in after} == {"all_success"}


def test_a_step_has_the_queue_that_the_yaml_gives_it(night: dict[str, Any]) -> None:
    queues = {task: described["queue"] for task, described in night["tasks"].items()}
    assert {task: queue for task, queue in queues.items() if queue != "default"} == {
        **dict.fromkeys(("prepare", "extract", "train"), "gpu"),
        **dict.fromkeys(("prepare_index", "index_cells", "index"), "large"),
    }


def test_heavy_tasks_share_a_pool(night: dict[str, Any]) -> None:
    assert [task for task in ORDER if night["tasks"][task]["pool"] == "medley_heavy"] == ORDER[1:-1]


def test_every_task_has_the_limits_of_the_configuration(night: dict[str, Any]) -> None:
    for described in night["tasks"].values():
        limits = {key: described[key] for key in ("retries", "delay", "timeout", "backoff")}
        assert limits == {"retries": 4, "delay": 7, "timeout": 99, "backoff": True}
    assert night["limits"] == [1, False, "30 2 * * *"]


def test_only_publishing_updates_the_asset(night: dict[str, Any]) -> None:
    assert {task: described["outlets"] for task, described in night["tasks"].items() if described["outlets"]} == {
        "publish": ["medley_index"]
    }


def test_the_form_has_what_an_operator_changes_as_typed_params_and_one_field_for_the_rest(
    night: dict[str, Any],
) -> None:
    settings = {path: schema for path, schema in leaves() if schema.get("operator") and "extract.audio" not in path}
    assert set(night["params"]) == {"as_of", "full", "settings", *settings}
    assert len(night["params"]) <= 25
    for path, described in settings.items():
        _, schema, description = night["params"][path]
        assert described["type"] in schema["type"]
        assert schema["section"] == (path.rpartition(".")[0] or "general")
        assert description.startswith(described.get("description", ""))
        for rule in ("minimum", "maximum", "exclusiveMinimum", "items", "minItems"):
            assert schema.get(rule) == described.get(rule), f"{rule} of {path}"
        assert schema.get("enum") == ([None, *described["enum"]] if "enum" in described else None)


def test_a_field_is_empty_and_says_beside_itself_what_the_yaml_has(night: dict[str, Any]) -> None:
    of_settings = {
        name: value for name, (value, *_) in night["params"].items() if "section" in night["params"][name][1]
    }
    assert set(of_settings.values()) == {None}, "a value would be pinned: the form sends every field"
    assert [night["params"][name][0] for name in ("as_of", "full", "settings")] == [None, False, {}]
    in_file = {name: description.partition("In the YAML: ")[2] for name, (_, _, description) in night["params"].items()}
    assert (in_file["threads"], in_file["publish.gate.min_ratio"]) == ("3", "1.5")
    assert in_file["ingest.warn_only"] == '["assert_most_rows_survive"]'
    assert in_file["index.recommendations"] == str(dict(leaves())["index.recommendations"]["default"])


@pytest.mark.parametrize("file", ["nightly.py", "tune.py"])
def test_every_field_may_be_empty_or_have_the_yamls_value_and_a_choice_is_one_of_words(
    with_airflow: Any, folder: Path, file: str
) -> None:
    (folder / "medley.yaml").write_text(YAML)
    refused = with_airflow(
        """
medley, refused = parse(sys.argv[1], sys.argv[2])["MEDLEY"], []
for path, schema in medley.form.items():
    on_or_off = ["true", "false"] if schema["type"] == "boolean" else []
    for value in [None, schema["default"], *on_or_off, {"no": "such"}] + ["maybe"] * bool(on_or_off):
        try:
            medley.params[path].resolve(value)
        except Exception:
            refused.append([path, value])
expected = [[path, value] for path, schema in medley.form.items()
            for value in [{"no": "such"}] * (schema["type"] != "object") + ["maybe"] * (schema["type"] == "boolean")]
print(json.dumps([refused, expected]))
""",
        str(folder / "medley.yaml"),
        file,
    )
    assert refused[0] == refused[1] != []


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ({}, []),
        ({"threads": 3, "index.recommendations": 5}, ["-s", "threads=3", "-s", "index.recommendations=5"]),
        ({"publish.gate.segment": None, "a.field.of.an.earlier.yaml": None}, []),
        (
            {"train.warm_start": "true", "publish.gate.min_published_ratio": 0},
            ["-s", "train.warm_start=true", "-s", "publish.gate.min_published_ratio=0"],
        ),
        ({"train.warm_start": False}, ["-s", "train.warm_start=false"]),
        ({"settings": {"fuse.width": 48, "note": "tonight"}}, ["-s", "fuse.width=48", "-s", 'note="tonight"']),
        (
            {"fuse.widht": 48},
            'no parameter is called fuse.widht; the nearest is fuse.width, to be written as settings: {"fuse.width": v',
        ),
        (
            {"publish.gate.min_ration": 1},
            "no parameter is called publish.gate.min_ration; the nearest is publish.gate.min_r",
        ),
        ({"as-of": "2026-01-01T00:00:00Z"}, "no parameter is called as-of; the nearest is as_of"),
        ({"train": {"model": "elsa"}}, "no parameter is called train; the nearest is "),
        ({"workspace": "elsewhere"}, "workspace is no parameter of a run; change it in /"),
        ({"source.items": "select 1"}, "source.items is no parameter of a run; "),
        ({"settings": {"workspace": "elsewhere"}}, "workspace is no parameter of a run; change it in /"),
        ({"settings": {"source.items": "select 1"}}, "source.items is no parameter of a run; "),
        ({"settings": {"source": {"engine": "postgresql"}}}, "source is no parameter of a run; "),
        ({"settings": {"nightly.retries": 3}}, "nightly.retries is no parameter of a run; "),
    ],
)
def test_only_what_was_changed_reaches_the_verb_and_an_unknown_key_is_one_sentence(
    with_airflow: Any, folder: Path, given: dict[str, Any], options: list[str] | str
) -> None:
    (folder / "medley.yaml").write_text(YAML)
    answer = with_airflow(OPTIONS, str(folder / "medley.yaml"), json.dumps(given), "nightly.py", "True")
    if isinstance(options, str):
        assert answer.startswith(options)
    else:
        assert answer[0] == ["--json", "-c", str(folder / "medley.yaml"), *options]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"threads": None}, "every setting as in FILE"),
        ({"threads": 3, "train.warm_start": "false", "settings": {"seed": 0}}, "every setting as in FILE"),
        ({"threads": 4}, "other than in FILE: threads=4 (there 3)"),
        (
            {"train.warm_start": "true", "settings": {"fuse.width": 48, "rerank": {"enabled": False}}},
            "other than in FILE: train.warm_start=true (there false), fuse.width=48 (there 256), "
            'rerank={"enabled": false}',
        ),
    ],
)
def test_what_differs_from_the_yaml_is_said_with_what_the_yaml_has(
    with_airflow: Any, folder: Path, given: dict[str, Any], said: str
) -> None:
    (folder / "medley.yaml").write_text(YAML)
    answer = with_airflow(OPTIONS, str(folder / "medley.yaml"), json.dumps(given), "nightly.py", "True")
    assert answer[1] == said.replace("FILE", str(folder / "medley.yaml"))


@pytest.mark.parametrize(
    ("file", "reaches", "said"),
    [
        ("nightly.py", "False", "the conf's full would be ignored; set core.dag_run_conf_overrides_params to True"),
        ("tune.py", "True", "no parameter is called full; the nearest is "),
    ],
)
def test_a_key_that_would_change_nothing_is_refused(
    with_airflow: Any, folder: Path, file: str, reaches: str, said: str
) -> None:
    (folder / "medley.yaml").write_text(YAML)
    answer = with_airflow(OPTIONS, str(folder / "medley.yaml"), json.dumps({"full": True}), file, reaches)
    assert answer.startswith(said)
