"""Bytes that a night reads: the first, a second with nothing changed, and one that trusts no time of change.

python -m tests.benchmarks.reading [--pictures 2000] [--json]

Each night is `ingest` and `extract` in a process of its own; bytes are what its reads returned (`rchar` of
`/proc/PID/io`): pictures, source, weights, the workspace, and Python's own modules, which `nothing` shows alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

SIDE = 64
CONFIG = """\
source:
  params: {root: .}
  items: select * from read_parquet(getvariable('root') || '/items.parquet')
  interactions: select * from read_parquet(getvariable('root') || '/log.parquet')
extract: {text: null, audio: null}
"""
UNTRUSTED = ("-s", "ingest.trust_times=false")
NIGHT = """\
import sys
from pathlib import Path
from pipeline import cli
arguments = sys.argv[1:]
for verb in ("ingest", "extract") if arguments else ():
    cli.app([verb, "-q", *arguments], standalone_mode=False)
print(Path("/proc/self/io").read_text().split()[1])
"""


def write_source(folder: Path, pictures: int) -> int:
    """Writes a catalogue of noise, so that no picture is like another; returns the pictures' bytes."""
    generator = np.random.default_rng(0)
    for number in range(pictures):
        pixels = generator.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        path = folder / f"{number}.png"
        Image.fromarray(pixels).save(path)
        os.utime(path, ns=(10**18, 10**18))
    ids = [f"item-{number:05d}" for number in range(pictures)]
    items = {"item_id": ids, "title": ids, "image": [f"{number}.png" for number in range(pictures)]}
    pq.write_table(pa.table(items), folder / "items.parquet")
    rows = 10 * pictures
    user = generator.integers(0, max(rows // 20, 1), rows)
    log = {
        "user_id": [f"user-{number}" for number in user],
        "item_id": [ids[number] for number in generator.integers(0, pictures, rows)],
        "ts": pa.array(generator.integers(15 * 10**14, 17 * 10**14, rows)).cast(pa.timestamp("us")),
    }
    pq.write_table(pa.table(log), folder / "log.parquet")
    (folder / "medley.yaml").write_text(CONFIG)
    return sum(path.stat().st_size for path in folder.glob("*.png"))


def night(*arguments: str) -> int:
    """Bytes that a process reads for a night; without arguments, for loading the command line alone."""
    done = subprocess.run([sys.executable, "-c", NIGHT, *arguments], check=True, capture_output=True, text=True)
    return int(done.stdout.split()[-1])


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    counts: dict[str, int] = {}
    with TemporaryDirectory() as scratch:
        size = write_source(Path(scratch), options.pictures)
        print(f"{options.pictures} pictures of {size / 1e6:.1f} MB", file=sys.stderr)
        config = ("-c", f"{scratch}/medley.yaml")
        nights = {"nothing": (), "first": config, "second, nothing changed": config}
        for name, arguments in {**nights, "third, no time trusted": (*config, *UNTRUSTED)}.items():
            counts[name] = night(*arguments)
            print(f"{name:26} {counts[name] / 1e6:9.1f} MB read", file=sys.stderr, flush=True)
    if options.json:
        print(json.dumps({"pictures": options.pictures, "picture_bytes": size, "bytes_read": counts}))


if __name__ == "__main__":
    main()
