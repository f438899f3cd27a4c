"""The night under Airflow: ingest → prepare → extract (mapped) → the rest of `pipeline.steps.STEPS` → publish.

Before index, its cells are found in mapped tasks where there are many vectors.

Wiring only: every task is the `medley` verb of its name, and the same night can be run by hand with `medley run`. How a
verb runs, which parameters a run has and what the pool is for: see `medley_verbs`.

- Parameters: `as_of` and `full` beside the settings of the form.
- Identity: run id and `as_of` come from the DAG run (its `run_after`), so that a retry is the same night.
- Queues: `nightly.queues` names those of Celery's workers that run a step, such as the ones with an accelerator; the
  search of `medley_tune` has that of `train`.
- Asset: a night that published updates `medley_index`; the event's extra has `digest`, `path` (absolute, or in its
  store), `recall` and `run_id`. A DAG scheduled on `Asset("medley_index")` starts then. A night that failed or whose
  gate refused updates nothing.
"""

from __future__ import annotations

import re
from typing import Any

from airflow.sdk import Asset, Param, TriggerRule, chain, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException
from medley_verbs import NULLABLE, POOL, Medley, log, small

from pipeline.steps import STEPS

INDEX = Asset("medley_index")
GROUP_NAME = "{{ task.op_kwargs['group'].name }}"
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

    @task(**MEDLEY.queue("ingest"))
    def ingest(**context: Any) -> dict[str, Any]:
        now = context["params"]["as_of"] or context["dag_run"].run_after.isoformat()
        return small(medley("ingest", f"--as-of={now}"))

    def mapped(verb: str, prepare: str, part: str) -> tuple[Any, Any]:
        """Two tasks: one says which groups of parts of a step there are to make, and each is one instance of the other.

        Where nothing is to be made, the second is skipped: what follows must not take that for a failure.
        """

        @task(task_id=prepare, pool=POOL, **MEDLEY.queue(verb))
        def prepared() -> list[dict[str, Any]]:
            groups: list[dict[str, Any]] = medley(verb, "--prepare")["tasks"]
            log.info("%d tasks of %s, each as the pool %s has a free slot", len(groups), verb, POOL)
            return groups

        @task(task_id=part, pool=POOL, map_index_template=GROUP_NAME, **MEDLEY.queue(verb))
        def made(group: dict[str, Any]) -> dict[str, Any]:
            return small(medley(verb, *group["options"]))

        groups = prepared()
        return groups, made.expand(group=groups)

    def heavy(verb: str, **options: Any) -> Any:
        return task(task_id=verb, pool=POOL, **MEDLEY.queue(verb), **options)(lambda: small(medley(verb)))()

    @task(outlets=[INDEX], **MEDLEY.queue("publish"))
    def publish(**context: Any) -> dict[str, Any]:
        receipt = small(medley("publish"))
        if not receipt["published"]:
            raise AirflowSkipException("the published index stays as it is")
        path = f"{MEDLEY.config.workspace}/{receipt['path']}"
        extra = {"digest": receipt["index"], "path": path, "recall": receipt["recall"]}
        context["outlet_events"][INDEX].extra = {**extra, "run_id": context["run_id"]}
        return receipt

    extract = mapped("extract", "prepare", "extract")
    cells = mapped("index", "prepare_index", "index_cells")
    after_parts = {"trigger_rule": TriggerRule.NONE_FAILED}
    between = [heavy(name, **(after_parts if name == WHOLE[0] else {})) for name in WHOLE[:-1]]
    chain(ingest(), *extract, *between, *cells, heavy(WHOLE[-1], **after_parts), publish())


NIGHTLY = nightly()
MEDLEY.add_params(NIGHTLY)
