"""A DAG that consumes the index: whenever a night publishes one, it is sent to where a team serves it from.

One task, the verb `medley export`. What it is called with stands in the environment variable MEDLEY_EXPORT, such as
`redis -s prefix=shop`, without which nothing is scheduled; a server's address, with its password, in MEDLEY_EXPORT_URI,
on the machines that run tasks. The workspace is that of the YAML file. How a verb runs: see `medley_verbs`.
"""

from __future__ import annotations

import os
import shlex
from typing import Any

from airflow.sdk import Asset, dag, task
from airflow.sdk.exceptions import AirflowFailException
from medley_verbs import Medley, small

MEDLEY = Medley.read(lambda *_: False)
ARGUMENTS = shlex.split(os.environ.get("MEDLEY_EXPORT", ""))


@dag(
    dag_id="medley_export",
    description="What a night has published is sent to where it is served from.",
    schedule=[Asset("medley_index")] if ARGUMENTS else None,
    catchup=False,
    max_active_runs=1,
    default_args=MEDLEY.limits,
    doc_md=__doc__,
    tags=["medley"],
)
def export() -> None:
    """One export of the newest index."""

    @task(task_id="export")
    def send() -> dict[str, Any]:
        if not ARGUMENTS:
            raise AirflowFailException("set MEDLEY_EXPORT to what `medley export` is called with, such as redis")
        return small(MEDLEY.ask("export", *ARGUMENTS, "-w", MEDLEY.config.workspace, "--json"))

    send()


EXPORT = export()
