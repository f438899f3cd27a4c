"""The night under Airflow: ingest → prepare → extract (mapped) → the rest of `pipeline.steps.STEPS` → publish.

Wiring only: every task is the `medley` verb of its name, and the same night can be run by hand with `medley run`. How a
verb runs, which parameters a run has and what the pool is for: see `medley_verbs`.

- Parameters: `as_of` and `full` beside the settings of the form.
- Identity: run id and `as_of` come from the DAG run (its `run_after`), so that a retry is the same night.
- Asset: a night that published updates `medley_index`; the event's extra has `digest`, `path` (absolute), `recall` and
  `run_id`. A DAG scheduled on `Asset("medley_index")` starts then. A night that failed or whose gate refused updates
  nothing.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from airflow.sdk import Asset, Param, TriggerRule, chain, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException
from medley_verbs import NULLABLE, POOL, Medley, log, small

from pipeline.steps import STEPS

INDEX = Asset("medley_index")
GROUP_NAME = "{% set g = task.op_kwargs['group'] %}{{ g.modality }} {{ g.buckets[0] }}-{{ g.buckets[-1] }}"
NOW = "the night's now, ISO 8601 with a zone; empty for the time the run was due"
PARAMS = {
    "as_of": Param(None, NOW, schema={**NULLABLE, "format": "date-time"}),
    "full": Param(False, "compute everything again, whatever is there already", schema={"type": "boolean"}),
}
# Steps that are one task each, without a return value of their own.
WHOLE = [step.name for step in STEPS if step.name not in ("ingest", "extract", "publish")]
MEDLEY = Medley.read(lambda _, schema: bool(schema.get("operator")), PARAMS)


def medley(verb: str, *arguments: str) -> dict[str, Any]:
    """Runs one verb of the night that the current DAG run is; see `Medley.run`."""
    context = get_current_context()
    run_id = re.sub(r"[^A-Za-z0-9_.-]", "-", context["dag_run"].run_id).lstrip(".-")
    full = ("--full",) if context["params"]["full"] else ()
    return MEDLEY.run(verb, *arguments, f"--run-id={run_id}", *full)


@dag(
    dag_id="medley_nightly",
    description=MEDLEY.config.note or "A catalogue and a log become a recommender's published index.",
    schedule=MEDLEY.config.nightly.schedule or None,
    catchup=False,
    max_active_runs=1,
    default_args=MEDLEY.limits,
    doc_md=__doc__,
    tags=["medley"],
)
def nightly() -> None:
    """One night: each task is the verb of its name."""

    @task
    def ingest(**context: Any) -> dict[str, Any]:
        now = context["params"]["as_of"] or context["dag_run"].run_after.isoformat()
        return small(medley("ingest", f"--as-of={now}"))

    @task(pool=POOL)
    def prepare() -> list[dict[str, Any]]:
        groups = medley("extract", "--prepare")["extract"]
        log.info("%d tasks to extract, each as the pool %s has a free slot", len(groups), POOL)
        return groups

    @task(pool=POOL, map_index_template=GROUP_NAME)
    def extract(group: dict[str, Any]) -> dict[str, Any]:
        buckets = (part for bucket in group["buckets"] for part in ("--bucket", str(bucket)))
        return small(medley("extract", "--modality", group["modality"], *buckets))

    def heavy(verb: str, **options: Any) -> Any:
        return task(task_id=verb, pool=POOL, **options)(lambda: small(medley(verb)))()

    @task(outlets=[INDEX])
    def publish(**context: Any) -> dict[str, Any]:
        receipt = small(medley("publish"))
        if not receipt["published"]:
            raise AirflowSkipException("the published index stays as it is")
        path = Path(MEDLEY.config.workspace, receipt["path"])
        extra = {"digest": receipt["index"], "path": str(path), "recall": receipt["recall"]}
        context["outlet_events"][INDEX].extra = {**extra, "run_id": context["run_id"]}
        return receipt

    groups = prepare()
    ingest() >> groups
    extracted = extract.expand(group=groups)
    tasks = [heavy(WHOLE[0], trigger_rule=TriggerRule.NONE_FAILED)]  # nothing left to extract is no failure
    tasks += [heavy(name) for name in WHOLE[1:]]
    chain(extracted, *tasks, publish())


NIGHTLY = nightly()
MEDLEY.add_params(NIGHTLY)
