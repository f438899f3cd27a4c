"""What `medley plan` says against the night that follows it: rows and seconds, on the sample shop and on movies.

    python -m tests.benchmarks.plans [--json] [shop] [movies]

After a first night come five changes, each planned and then run: nothing; the texts of 1 % of the items; 1 % more
choices; another width of the fusion; another encoder of texts.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.sample import write_shop
from tests.benchmarks.nights import DATA, ROOT

SETS = ("shop", "movies")
AS_OF = "2026-01-01T00:00:00Z"
# Of each set: the table and column of texts, and the table of choices.
TABLES = {"shop": ("items.csv", "blurb", "purchases.csv"), "movies": ("movies.csv", "title", "ratings.csv")}
Change = tuple[str, Callable[[str, Path], None], tuple[str, ...]]


def main() -> None:
    arguments = [argument for argument in sys.argv[1:] if argument != "--json"]
    with tempfile.TemporaryDirectory() as folder:
        cases = {}
        for name in arguments or SETS:
            cases[name] = case(name, Path(folder) / name)
            if "--json" not in sys.argv:
                print(table(name, cases[name]), flush=True)
    if "--json" in sys.argv:
        print(json.dumps(cases))


def case(name: str, folder: Path) -> list[dict[str, Any]]:
    """The nights of one set, planned and as they were; of the first there is no past to plan by."""
    config = prepare(name, folder)
    run(config, "first")
    nights = []
    for number, (what, change, settings) in enumerate(CHANGES):
        change(name, folder)
        config += [option for setting in settings for option in ("-s", setting)]
        planned = json.loads(medley("plan", *config, "--as-of", AS_OF, "--json"))
        began = time.perf_counter()
        run(config, f"night-{number}")
        wall = time.perf_counter() - began
        manifest = json.loads((folder / f"workspace/runs/night-{number}/manifest.json").read_text())["steps"]
        rows = {step: values["encoded_rows"] for step, values in manifest.items() if step.startswith("extract.")}
        nights.append(
            {
                "change": what,
                "planned_rows": {m: entry["encoded_rows"] for m, entry in planned["modalities"].items()},
                "rows": {step.removeprefix("extract."): count for step, count in rows.items()},
                "planned_seconds": planned["seconds"],
                "seconds": round(sum(values["seconds"] for values in manifest.values()), 2),
                "wall_seconds": round(wall, 2),
                "planned_steps": {step: entry["seconds"] for step, entry in planned["steps"].items()},
                "steps": {step: values["seconds"] for step, values in manifest.items()},
            }
        )
    return nights


def prepare(name: str, folder: Path) -> list[str]:
    workspace = ["-s", f"workspace={folder / 'workspace'}", "-s", "train.budget_minutes=2"]
    if name == "shop":
        write_shop(folder)
        return ["-c", str(folder / "medley.yaml"), *workspace]
    shutil.copytree(DATA / name, folder)
    return ["-c", str(ROOT / "sql/sources/movielens/medley.yaml"), "-s", f"source.params.root={folder}", *workspace]


def texts(name: str, folder: Path) -> None:
    path, column, _ = TABLES[name]
    rows = pd.read_csv(folder / path, dtype=str, keep_default_na=False)
    rows.loc[rows.index[::100], column] += " Anew."
    rows.to_csv(folder / path, index=False)


def choices(name: str, folder: Path) -> None:
    path = folder / TABLES[name][2]
    rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    more = rows.sample(len(rows) // 100, random_state=0)
    # The users of some choices chose what another one of them did.
    more.iloc[:, 1] = more.iloc[:, 1].sample(frac=1, random_state=1).to_numpy()
    pd.concat([rows, more]).to_csv(path, index=False)


def nothing(name: str, folder: Path) -> None:
    """The same night again."""


CHANGES: tuple[Change, ...] = (
    ("nothing", nothing, ()),
    ("texts of 1 %", texts, ()),
    ("choices, 1 % more", choices, ()),
    ("fuse.width", nothing, ("fuse.width=96",)),
    ("extract.text", nothing, ("extract.text={encoder: tfidf}",)),
)


def run(config: list[str], run_id: str) -> None:
    medley("run", "-q", *config, "--as-of", AS_OF, "--run-id", run_id)


def medley(*arguments: str) -> str:
    """Runs the command line; a night that the gate refuses is a night too."""
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ
    )
    if done.returncode not in (0, 3):
        raise SystemExit(f"medley {arguments[0]} ended with {done.returncode}")
    return done.stdout


def table(name: str, nights: list[dict[str, Any]]) -> str:
    lines = [name]
    for night in nights:
        rows = "rows exact" if night["planned_rows"] == night["rows"] else f"{night['planned_rows']} != {night['rows']}"
        seconds = night["planned_seconds"]
        # Of an encoder that never ran here, nobody knows what it takes.
        planned = "unknown" if seconds is None else f"{seconds:.1f} s, {seconds / night['seconds']:.2f} of it"
        lines.append(
            f"  {night['change']:<18} took {night['seconds']:7.1f} s ({night['wall_seconds']:.1f} s with its process), "
            f"planned {planned}; {rows}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
