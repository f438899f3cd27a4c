"""A search for settings of the recommender under Airflow, started by hand: one task, the verb `medley tune`.

It tries settings on the newest run's vectors and judges them on the validation part. What it finds is in `tune.json`
and in the next night's report; the settings are changed by whoever writes the YAML. A search that is cut short goes on
with the next try, or the next run of the same space: raise `tune.trials` to add to it. `tune.space` is what is tried.
How a verb runs, which parameters a run has and what the pool is for: see `medley_verbs`.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import dag, task
from medley_verbs import POOL, Medley, small

MEDLEY = Medley.read(lambda path, _: path.startswith("tune."))


@dag(
    dag_id="medley_tune",
    description="Settings of the recommender are tried and judged on the validation part.",
    schedule=None,
    catchup=False,
    max_active_runs=1,
    default_args=MEDLEY.limits,
    doc_md=__doc__,
    tags=["medley"],
)
def tune() -> None:
    """One search."""

    @task(task_id="tune", pool=POOL, **MEDLEY.queue("train"))
    def search() -> dict[str, Any]:
        return small(MEDLEY.run("tune"))

    search()


TUNE = tune()
MEDLEY.add_params(TUNE)
