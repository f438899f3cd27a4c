"""What a night costs and what it is worth, on the sample shop and on real data.

    python -m tests.benchmarks.nights [--json] [shop] [movies] [creatures]

Each set is run three times: the first night from nothing; the next, in which one item's text has changed (the shop) or
nothing has (the others); and the same night again with `--full`, which is what a pipeline without digests does every
time. The ratio is that of the last two, in one run; recommendations beside baselines stand next to it.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.sample import write_shop

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("MEDLEY_TEST_DATA") or ROOT.parent / "shared" / "data")
SETS = ("shop", "movies", "creatures")
AS_OF = "2026-01-01T00:00:00Z"
QUALITY = (("all", "ndcg@10"), ("all", "recall@20"), ("cold", "recall@20"))


def main() -> None:
    arguments = [argument for argument in sys.argv[1:] if argument != "--json"]
    chosen = [name for name in SETS if name in arguments or not arguments]
    with tempfile.TemporaryDirectory() as folder:
        cases = [case(name, Path(folder) / name) for name in chosen if name == "shop" or DATA.is_dir()]
    document = {"machine": f"{os.cpu_count()} cores, {platform.processor() or platform.machine()}", "cases": cases}
    print(json.dumps(document) if "--json" in sys.argv else "\n\n".join(table(entry) for entry in cases))


def case(name: str, folder: Path) -> dict[str, Any]:
    """Three nights of one set: seconds, rows encoded, peak memory, and the metrics of the first."""
    config = prepare(name, folder)
    first = night(config, folder, "first")
    if name == "shop":
        change_one_text(folder / "items.csv")
    after = night(config, folder, "next")
    full = night(config, folder, "full", "--full")
    metrics = json.loads((folder / "workspace/runs/first/metrics.json").read_text())["test"]
    ratio = round(full["seconds"] / after["seconds"], 2)
    return {"name": name, "nights": [first, after, full], "ratio": ratio, "quality": quality(metrics)}


def change_one_text(items: Path) -> None:
    table = pd.read_csv(items, dtype=str, keep_default_na=False)
    table.loc[table.index[10], "blurb"] += " Reissued."
    table.to_csv(items, index=False)


def prepare(name: str, folder: Path) -> tuple[str, ...]:
    if name == "shop":
        write_shop(folder)
        return ("-c", str(folder / "medley.yaml"))
    source = {"movies": "movielens"}.get(name, name)
    return ("-c", str(ROOT / f"sql/sources/{source}/medley.yaml"), "-s", f"source.params.root={DATA / name}")


def night(config: tuple[str, ...], folder: Path, run_id: str, *more: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "pipeline.cli", "run", "-q", *config, "-s", f"workspace={folder / 'workspace'}"]
    begin = time.perf_counter()
    done = subprocess.run(
        [*command, "--as-of", AS_OF, "--run-id", run_id, *more], cwd=ROOT, stdout=sys.stderr, check=False
    )
    seconds = round(time.perf_counter() - begin, 1)
    steps = json.loads((folder / f"workspace/runs/{run_id}/manifest.json").read_text())["steps"]
    return {
        "night": run_id,
        "exit_status": done.returncode,
        "seconds": seconds,
        "encoded_rows": sum(step["encoded_rows"] for step in steps.values()),
        "peak_rss_bytes": max(step["peak_rss_bytes"] for step in steps.values()),
        "steps": {step: values["seconds"] for step, values in steps.items()},
    }


def quality(metrics: dict[str, Any]) -> dict[str, dict[str, list[float]]]:
    return {
        f"{segment} {metric}": {
            model: [round(values[metric][key], 4) for key in ("mean", "low", "high")]
            for model, values in sorted(metrics.get(segment, {}).items())
        }
        for segment, metric in QUALITY
    }


def table(entry: dict[str, Any]) -> str:
    lines = [f"{entry['name']}: the next night takes 1/{entry['ratio']} of computing everything again"]
    for run in entry["nights"]:
        steps = ", ".join(f"{step} {seconds:.1f}" for step, seconds in run["steps"].items())
        memory = f"{run['peak_rss_bytes'] / 1e9:.1f} GB"
        lines.append(
            f"  {run['night']:<6} {run['seconds']:7.1f} s  {run['encoded_rows']:>6} rows encoded  {memory}  ({steps})"
        )
    for metric, models in entry["quality"].items():
        lines.append(f"  {metric}")
        lines += [f"    {model:<11} {mean:.4f}  [{low:.4f}, {high:.4f}]" for model, (mean, low, high) in models.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
