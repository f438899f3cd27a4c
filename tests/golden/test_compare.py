"""A changed result is told from noise, and from one whose version was raised."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import JsonValue

from tests.golden.compare import Golden, difference, fault

KNOWN = Golden({"steps.fuse": 4}, {"items": [[0.5, None], [0.25, 1.0]], "kind": "concat"})


@pytest.mark.parametrize(
    ("found", "where"),
    [
        ({"items": [[0.501, None], [0.25, 0.999]], "kind": "concat"}, None),
        ({"items": [[0.502, None], [0.25, 1.0]], "kind": "concat"}, "result.items[0][0] was 0.5 and is 0.502"),
        ({"items": [[0.5, 0.1], [0.25, 1.0]], "kind": "concat"}, "result.items[0][1] was null and is 0.1"),
        ({"items": [[0.5, None]], "kind": "concat"}, "result.items was"),
        ({"items": [[0.5, None], [0.25, 1.0]], "kind": "linear"}, 'result.kind was "concat" and is "linear"'),
        ({"items": [[0.5, None], [0.25, 1.0]]}, "result was"),
    ],
)
def test_results_differ_by_more_than_machines_do(found: JsonValue, where: str | None) -> None:
    change = difference(KNOWN.result, found)
    assert change is None if where is None else change is not None and change.startswith(where)


def test_a_change_without_a_new_version_says_which_to_raise() -> None:
    changed = replace(KNOWN, result={})
    said = fault("fuse/concat", KNOWN, changed)
    assert said is not None
    assert "Raise that of pipeline/steps/fuse.py (4)" in said
    assert fault("fuse/concat", KNOWN, KNOWN) is None


@pytest.mark.parametrize("known", [None, Golden({"steps.fuse": 3}, KNOWN.result), Golden({"steps.fuse": 3}, {})])
def test_a_new_case_or_a_raised_version_is_to_be_written_down(known: Golden | None) -> None:
    said = fault("fuse/concat", known, KNOWN)
    assert said is not None
    assert said.endswith("run `python -m tests.golden.update`")


def test_what_is_named_by_its_content_needs_no_version() -> None:
    said = fault("ingest/night", Golden({}, {}), Golden({}, {"rows": 1}))
    assert said is not None
    assert "named by content" in said
