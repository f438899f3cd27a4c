"""What extraction costs over nights, by the command line on generated catalogues.

- peak memory of `medley extract` in torch's fp32, at ten times the items: buckets are of one size, so there are more;
- a night in which one item in a hundred changed: rows encoded, and extract's seconds beside those of the full night.
"""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pipeline.config import Modality
from tests.benchmarks.encoders_text import ABSTRACTS
from tests.benchmarks.harness import ROOT, Case, Quality, child_environment

FEW_ITEMS, TIMES, ROWS_PER_BUCKET = 1000, 10, 500
NIGHT_ITEMS, CHANGED = 4000, 100
AS_OF = "2026-01-01T00:00:00Z"
SHORT_CHARACTERS = 160
CONFIG = """
workspace: {folder}/workspace
source:
  params: {{root: {folder}}}
  items: select * from read_parquet(getvariable('root') || '/items.parquet')
  interactions: select * from read_parquet(getvariable('root') || '/interactions.parquet')
"""


def cases(share: int) -> list[Case]:
    """Every case, at one `share`-th of the items. Raises FileNotFoundError, with a reason, without abstracts."""
    if not ABSTRACTS.is_file():
        raise FileNotFoundError(
            f"{ABSTRACTS} is not there: set MEDLEY_TEST_DATA to the folder that holds the data sets"
        )
    return [_memory("text", share), _memory("image", share), _night(NIGHT_ITEMS // share)]


@dataclass(frozen=True)
class Extracted:
    """What one `medley extract` process did. `seconds` are those of its receipts, `wall_seconds` the process's."""

    encoded_rows: int
    seconds: float
    wall_seconds: float
    peak_rss_bytes: int
    engines: str


class Catalogue:
    """A folder with a generated catalogue, a log and a configuration."""

    def __init__(self, folder: Path, items: int, characters: int) -> None:
        self.folder, self.items, self.characters = folder, items, characters
        self.abstracts = sorted(json.loads(ABSTRACTS.read_text("utf-8")).values())
        (folder / "images").mkdir(parents=True)
        self.edition = {number: 0 for number in range(items)}
        for number in range(items):
            self._draw(number)
        (folder / "medley.yaml").write_text(CONFIG.format(folder=folder), "utf-8")
        self._write_items()
        self._write_log()

    def change(self, every: int) -> int:
        """Gives every n-th item another text and picture; says how many."""
        changed = range(0, self.items, every)
        for number in changed:
            self.edition[number] += 1
            self._draw(number)
        self._write_items()
        return len(changed)

    def extract(self, run_id: str, modalities: tuple[Modality, ...], **settings: object) -> list[Extracted]:
        """Ingests a new run and extracts each modality in a process of its own."""
        common = ("-c", str(self.folder / "medley.yaml"), "--run-id", run_id, "-q")
        options = [f"{key}={value}" for key, value in settings.items()]
        more = [part for option in options for part in ("-s", option.replace("__", "."))]
        _medley("ingest", *common, *more, "--as-of", AS_OF)
        return [self._extract(run_id, one, (*common, *more)) for one in modalities]

    def _extract(self, run_id: str, modality: str, options: tuple[str, ...]) -> Extracted:
        wall, peak = _medley("extract", *options, "--modality", modality)
        steps = self.folder / "workspace" / "runs" / run_id / "steps"
        receipts = [json.loads(path.read_text()) for path in sorted(steps.glob(f"extract.{modality}.*.json"))]
        told = receipts[0]["details"]
        return Extracted(
            sum(receipt["encoded_rows"] for receipt in receipts),
            sum(receipt["seconds"] for receipt in receipts),
            wall,
            max(peak, *(receipt["peak_rss_bytes"] for receipt in receipts)),
            f"{told['engine']} {told['precision']}",
        )

    def _text(self, number: int) -> str:
        abstract = self.abstracts[number % len(self.abstracts)][: self.characters]
        return f"Number {number}, edition {self.edition[number]}. {abstract}"

    def _draw(self, number: int) -> None:
        generator = np.random.default_rng([number, self.edition[number]])
        coarse = generator.integers(0, 255, (12, 12, 3), dtype=np.uint8)
        held = io.BytesIO()
        Image.fromarray(coarse).resize((240, 240), Image.Resampling.BICUBIC).save(held, "JPEG", quality=85)
        (self.folder / "images" / f"{number}.jpg").write_bytes(held.getvalue())

    def _write_items(self) -> None:
        numbers = range(self.items)
        columns = {
            "item_id": [str(number) for number in numbers],
            "title": [f"Item {number}" for number in numbers],
            "text": [self._text(number) for number in numbers],
            "image": [f"images/{number}.jpg" for number in numbers],
        }
        pq.write_table(pa.table(columns), self.folder / "items.parquet")

    def _write_log(self) -> None:
        draw = random.Random(0)
        start = 1_700_000_000_000_000
        log: dict[str, list[Any]] = {"user_id": [], "item_id": [], "ts": []}
        for user in range(50):
            for item in draw.sample(range(self.items), 20):
                values = (str(user), str(item), start + draw.randrange(10**7) * 10**6)
                for column, value in zip(log, values, strict=True):
                    log[column].append(value)
        table = pa.table({**log, "ts": pa.array(log["ts"], pa.timestamp("us"))})
        pq.write_table(table, self.folder / "interactions.parquet")


def _medley(verb: str, *options: str) -> tuple[float, int]:
    """Runs the command line in its own process; gives its seconds and its peak memory in bytes."""
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", verb, *options],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        env=child_environment(),
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"medley {verb} {' '.join(options)}: exit status {process.returncode}")
    return time.perf_counter() - begin, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _memory(modality: Modality, share: int) -> Case:
    few = FEW_ITEMS // share
    settings = {"extract__audio": "null", "ingest__rows_per_bucket": ROWS_PER_BUCKET // share}
    settings |= {f"extract.{modality}.engine": "torch", f"extract.{modality}.precision": "fp32"}
    found = {}
    for items in (few, few * TIMES):
        print(f"  memory, {modality}, {items} items", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            catalogue = Catalogue(Path(folder) / "shop", items, SHORT_CHARACTERS)
            found[items] = catalogue.extract("first", (modality,), **settings)[0]
    small, large = found[few], found[few * TIMES]
    return Case(
        f"nights, peak memory of extract {modality}, {few * TIMES} items beside {few}",
        ratio=large.peak_rss_bytes / small.peak_rss_bytes,
        target=1.15,
        at_most=True,
        peak_rss_bytes={f"{items} items": one.peak_rss_bytes for items, one in found.items()},
        notes=(
            f"{ROWS_PER_BUCKET // share} rows a bucket, {large.engines}",
            f"{large.encoded_rows} rows encoded in {large.seconds:.0f} s",
        ),
    )


def _night(items: int) -> Case:
    modalities: tuple[Modality, ...] = ("text", "image")
    with tempfile.TemporaryDirectory() as folder:
        catalogue = Catalogue(Path(folder) / "shop", items, characters=10_000)
        print(f"  night, {items} items", file=sys.stderr, flush=True)
        first = catalogue.extract("first", modalities, extract__audio="null")
        changed = catalogue.change(CHANGED)
        after = catalogue.extract("next", modalities, extract__audio="null")
    encoded = [one.encoded_rows for one in after]
    seconds = [sum(one.seconds for one in night) for night in (first, after)]
    wall = [sum(one.wall_seconds for one in night) for night in (first, after)]
    told = [
        f"{modality}: {one.encoded_rows} rows in {one.seconds:.1f} s ({one.engines}), "
        f"then {two.encoded_rows} in {two.seconds:.1f} s"
        for modality, one, two in zip(modalities, first, after, strict=True)
    ]
    return Case(
        f"nights, 1 in {CHANGED} of {items} items changed: seconds of extract beside the full night's",
        ratio=seconds[1] / seconds[0],
        target=0.1,
        at_most=True,
        quality=Quality("encoded rows are those that changed", float(encoded == [changed] * len(modalities)), 1.0),
        peak_rss_bytes={"full night": max(one.peak_rss_bytes for one in first)},
        notes=(*told, f"with the processes' start: {wall[1]:.1f} s of {wall[0]:.1f} s, {wall[1] / wall[0]:.3f}"),
    )
