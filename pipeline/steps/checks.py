"""The checks of `sql/checks/`: queries that return offending rows of what was staged, and why they may not be."""

from __future__ import annotations

import logging

import duckdb

from pipeline.artefacts.staged import CheckOutcome
from pipeline.errors import CheckFailed
from pipeline.source import sql_folder
from pipeline.steps.losses import losses

log = logging.getLogger("medley")


def check(connection: duckdb.DuckDBPyConnection, warn_only: tuple[str, ...]) -> tuple[CheckOutcome, ...]:
    """What each of `sql/checks/` says. Raises CheckFailed for the first that has offending rows and is no warning."""
    outcomes: list[CheckOutcome] = []
    for path in sorted((sql_folder() / "checks").glob("assert_*.sql")):
        query = path.read_text("utf-8")
        offending = connection.execute(query)
        columns = [column[0] for column in offending.description or ()]
        rows = offending.fetchall()
        why = query.splitlines()[0].removeprefix("--").strip()
        outcome = CheckOutcome(path.stem, why, len(rows), "warn" if path.stem in warn_only else "error")
        outcomes.append(outcome)
        if rows:
            example = ", ".join(f"{name}={value}" for name, value in zip(columns, rows[0], strict=True))
            message = f"check {outcome.name}: {len(rows)} rows, the first {example}. {why}"
            if outcome.level == "error":
                lost = "".join(f" {sentence}." for sentence in losses(connection))
                raise CheckFailed(f"{message}{lost} Mend the source, or list it in ingest.warn_only.")
            log.warning(message)
    return tuple(outcomes)
