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
    staged = connection.read_parquet([str(path) for path in sorted(items.glob("*.parquet"))], union_by_name=True)
    contents = {"text": "nullif(trim(text), '')", **{medium: f"{medium}_hash" for medium in MEDIA}}
    outcomes = []
    # Given vectors have no hash here.
    for modality in (name for name in modalities if name == "text" or contents.get(name) in staged.columns):
        shared = connection.execute(
            f"with contents as (select item_id, cold, {contents[modality]} as content from staged), "
            "doubles as (select content, min(item_id) filter (not cold) as trained from contents "
            "where content is not null group by content having bool_or(cold) and not bool_and(cold)) "
            "select item_id, trained from contents join doubles using (content) where cold order by item_id"
        ).fetchall()
        outcome = CheckOutcome(f"cold_items_share_no_{modality}", WHY.format(modality=modality), len(shared), "warn")
        outcomes.append(outcome)
        if shared:
            example = "that of {} is {}'s".format(*shared[0])
            log.warning("check %s: %d items, such as %s. %s", outcome.name, len(shared), example, outcome.why)
    return outcomes
