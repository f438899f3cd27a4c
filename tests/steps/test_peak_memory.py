"""What ingest and extract hold at most grows with items, users and choices by no more than their docstrings say."""

from __future__ import annotations

import json

import pytest

from tests.benchmarks.night_scale import AS_OF, WIDTHS, Source
from tests.conftest import medley

SIZES = ((10_000, 10_000, 100_000), (200_000, 50_000, 1_000_000))
# By which the peak of the same step on the same source differs from run to run, as allocators keep what they had.
VARIES_BYTES = 80_000_000

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def peaks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[int]]:
    """The peak memory of a step in bytes, at each size."""
    bytes_of: dict[str, list[int]] = {"ingest": [], "extract": []}
    for size in SIZES:
        folder = tmp_path_factory.mktemp("size") / "source"
        Source(folder, *size).write("svd")
        settings = ("-c", folder / "medley.yaml", "-s", "threads=1", "-s", f"workspace={folder / 'workspace'}")
        medley("ingest", *settings, "--run-id", "only", "--as-of", AS_OF)
        medley("extract", *settings, "--run-id", "only")
        for step, peaks in bytes_of.items():
            receipts = (folder / "workspace/runs/only/steps").glob(f"{step}*.json")
            peaks.append(max(json.loads(path.read_text())["peak_rss_bytes"] for path in receipts))
    return bytes_of


def growth(peaks: list[int]) -> int:
    return peaks[1] - peaks[0]


def more() -> tuple[int, ...]:
    """Items, users and choices that the second size has more."""
    return tuple(large - small for small, large in zip(*SIZES, strict=True))


def test_ingest_holds_bytes_an_item_a_user_and_a_choice(peaks: dict[str, list[int]]) -> None:
    items, users, choices = more()
    assert growth(peaks["ingest"]) < 250 * items + 30 * users + 220 * choices + VARIES_BYTES


def test_extract_holds_given_vectors_once_and_little_more(peaks: dict[str, list[int]]) -> None:
    items, *_ = more()
    assert growth(peaks["extract"]) < (4 * max(WIDTHS.values()) + 50) * items + VARIES_BYTES
