"""Readers ask on while nights are published, rolled back and swept, and the publisher is killed; see the benchmark."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.publishes import Plan, measured
from tests.conftest import Shop


def test_no_query_fails_and_no_answer_is_torn_through_publishes_rollbacks_and_kills(
    night: Shop, tmp_path: Path
) -> None:
    plan = Plan(publishes=8, rollbacks=1, kills=2, readers=2, queries=2_000, report_every=0)
    found = measured(night.folder, tmp_path, plan)
    assert found["faults"] == []
    counted = {name: found[name] for name in ("failures", "publishes", "rollbacks", "kills")}
    assert counted == {"failures": 0, "publishes": 8, "rollbacks": 1, "kills": 2}
    assert found["queries"] >= plan.queries
    assert found["indexes swept"] >= 5
    assert all(reader["versions"] > 3 and reader["opened_anew"] for reader in found["readers"])
