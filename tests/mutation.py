"""Mutation tests: `python -m tests.mutation [MODULE ...]`, run by hand; minutes to hours.

Changes one operator, number, argument or text of a module at a time with mutmut, and says which changes no test of that
module notices. Each module has the few quick tests that are its own; see TESTS. Prints a survivor's change and, at
the end, a line for each module: mutants, killed, and survivors.

    python -m tests.mutation                          # every module
    python -m tests.mutation evaluation/gate          # one of them
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = {
    "evaluation/gate": ("evaluation/test_gate.py",),
    "evaluation/drift": ("evaluation/test_drift.py",),
    "steps/sweep": ("steps/test_sweep.py",),
    "steps/rollback": ("steps/test_rollback.py",),
    "evaluation/significance": ("evaluation/test_significance.py",),
    "evaluation/calibration": ("evaluation/test_calibration.py",),
    "evaluation/beyond_accuracy": ("evaluation/test_beyond_accuracy.py",),
    "evaluation/item_similarity": ("evaluation/test_item_similarity.py",),
    "evaluation/top_k": ("evaluation/test_top_k.py",),
    "evaluation/ranking": ("evaluation/test_ranking.py", "evaluation/test_metrics.py"),
    "evaluation/metrics": ("evaluation/test_metrics.py",),
    "evaluation/hits/*": ("evaluation/test_hits.py",),
    "evaluation/segments": ("evaluation/test_segments.py",),
    "serving/lookup": ("serving/test_exclusion.py",),
    "indexing/searched": ("indexing/test_searched.py", "serving/test_index.py"),
    "indexing/inverted_file": ("indexing/test_inverted_file.py",),
    "indexing/graph": ("indexing/test_planner.py",),
    "serving/filters": ("serving/test_index.py",),
    "serving/recommendations": ("serving/test_exclusion.py",),
    "fusion/base": ("fusion/test_mask.py",),
    "fusion/kinds/linear": ("fusion/test_mask.py",),
    "fusion/kinds/concat": ("fusion/test_mask.py",),
}
# Of these modules, the functions that are mutated: what leaves out and what masks, not what encodes and learns.
ONLY = {
    "fusion/kinds/linear": ("xǁLinearFusionǁcombine", "xǁLinearFusionǁ__init__"),
    "fusion/kinds/concat": ("xǁConcatFusionǁcombine", "xǁConcatFusionǁ__init__"),
}
SETTINGS = """[tool.mutmut]
source_paths = ["pipeline"]
only_mutate = ["pipeline/{module}.py"]
also_copy = ["sql", "dags"]
pytest_add_cli_args = ["-x", "-q", "-p", "no:cacheprovider"]
pytest_add_cli_args_test_selection = {tests}
track_dependencies = false
use_git_change_detection = false
"""


def mutate(module: str, folder: Path) -> dict[str, str]:
    """Runs every mutant of a module in a copy of the project; returns how each one ended, by its name."""
    for name in ("pipeline", "tests", "sql", "dags"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "benchmarks"))
    tests = [f"tests/{name}" for name in TESTS[module]]
    (folder / "pyproject.toml").write_text(SETTINGS.format(module=module, tests=tests))
    run = [sys.executable, "-m", "mutmut", "run", "--max-children", "1"]
    subprocess.run(run, cwd=folder, check=False, stdout=subprocess.DEVNULL)
    told = subprocess.run(
        [*run[:3], "results", "--all", "true"], cwd=folder, check=True, capture_output=True, text=True
    )
    pairs = (line.strip().rpartition(": ") for line in told.stdout.splitlines() if "__mutmut_" in line)
    return {name: ended for name, _, ended in pairs if ended != "not checked"}


def shown(name: str, folder: Path) -> str:
    """The change of a mutant, as a diff."""
    show = [sys.executable, "-m", "mutmut", "show", name]
    return subprocess.run(show, cwd=folder, check=True, capture_output=True, text=True).stdout


def main(modules: list[str]) -> None:
    """Mutates the modules named, or all, and prints survivors and numbers."""
    table = []
    for module in modules or list(TESTS):
        with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
            ended = mutate(module, Path(scratch))
            survivors = [
                name for name, end in ended.items() if end not in ("killed", "timeout", "caught by type check")
            ]
            for name in survivors:
                print(f"## {ended[name]}: {shown(name, Path(scratch))}", flush=True)
            table.append(f"{module:<28} {len(ended):>6} mutants {len(ended) - len(survivors):>6} killed")
            print(table[-1], file=sys.stderr, flush=True)
    print(*table, sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
