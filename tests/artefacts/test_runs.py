"""A run's receipts are read as they were written, or refused in one sentence."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from pipeline.artefacts.runs import StepReceipt, receipt_of, receipts_of
from pipeline.errors import StepFailed

RECEIPT = StepReceipt("fuse", "fused/1", "1", 3, 3, 0, False, 0.5, 100)


def test_a_receipt_comes_back_and_one_that_another_version_wrote_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "steps").mkdir()
    assert receipt_of(tmp_path, "fuse") is None
    place = tmp_path / "steps" / "fuse.json"
    place.write_text(json.dumps(asdict(RECEIPT)))
    assert receipt_of(tmp_path, "fuse") == RECEIPT
    place.write_text(json.dumps({**asdict(RECEIPT), "lanes": 2}))
    with pytest.raises(StepFailed, match=r"another version of Medley wrote its receipt of fuse; run another night"):
        receipts_of(tmp_path)
