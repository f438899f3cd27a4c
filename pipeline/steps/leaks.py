"""Leaks of the cold split by content: one picture, clip or text under two ids, one held out and one in training."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import duckdb

from pipeline.artefacts.staged import CheckOutcome
from pipeline.config import Modality
from pipeline.config.base import MEDIA

log = logging.getLogger("medley")
WHY = "A cold item whose {modality} an item of training has too is not new to what reads it: its figures look too good."


def leaks(connection: duckdb.DuckDBPyConnection, items: Path, modalities: Sequence[Modality]) -> list[CheckOutcome]:
    """A check of each modality that has contents of its own, which warns. items: the folder of the staged items."""
    rows = f"read_parquet('{str(items).replace(chr(39), 2 * chr(39))}/*.parquet', union_by_name = true)"
    names = {row[0] for row in connection.execute(f"describe from {rows}").fetchall()}
    outcomes = []
    for modality in modalities:
        content = f"{modality}_hash" if modality in MEDIA else "nullif(trim(text), '')"
        if modality != "text" and content not in names:
            continue
        shared = connection.execute(
            f"with contents as (select item_id, cold, {content} as content from {rows} where content is not null), "
            "doubles as (select content, min(item_id) filter (not cold) as trained from contents "
            "group by content having bool_or(cold) and not bool_and(cold)) "
            "select item_id, trained from contents join doubles using (content) where cold order by item_id"
        ).fetchall()
        outcome = CheckOutcome(f"cold_items_share_no_{modality}", WHY.format(modality=modality), len(shared), "warn")
        outcomes.append(outcome)
        if shared:
            example = "that of {} is {}'s".format(*shared[0])
            log.warning("check %s: %d items, such as %s. %s", outcome.name, len(shared), example, outcome.why)
    return outcomes
