"""What a verb imports: what only answers, or finds everything there, starts without the libraries that compute."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import ANY_QUALITY, QUICK_MODEL, Shop, python
from tests.packages import write_package

VERB = """
import json, sys
from pipeline.cli import main
heavy, sys.argv = json.loads(sys.argv[1]), ["medley", *sys.argv[2:]]
try:
    main()
except SystemExit as exit:
    assert not exit.code, exit.code
print(json.dumps([name for name in heavy if name in sys.modules]), file=sys.stderr)
"""
COMPUTING = ("torch", "transformers", "pandas", "sklearn", "faiss", "implicit", "numba", "jinja2")
QUICK = (*QUICK_MODEL, "evaluate.bootstrap_samples=50", *ANY_QUALITY)


def imported(modules: tuple[str, ...], *arguments: object) -> list[str]:
    """Those of some modules that a verb imports."""
    return json.loads(python(VERB, json.dumps(modules), *arguments).stderr.splitlines()[-1])


def test_status_reads_json_alone(published: Shop) -> None:
    modules = (*COMPUTING, "numpy", "pyarrow", "scipy", "pipeline.config", "pipeline.night")
    assert imported(modules, "status", "-w", published.workspace) == []


def test_a_users_list_is_read_without_an_index(published: Shop) -> None:
    modules = (*COMPUTING, "scipy", "duckdb", "pipeline.config", "pipeline.night", "numpy.ma", "rich")
    assert imported(modules, "lookup", "-w", published.workspace, "--user", "buyer-0001") == []


def test_no_plugin_of_pydantic_is_looked_for(published: Shop, tmp_path: Path) -> None:
    site = write_package(tmp_path, "acme_plugin", "plugin = None", "[pydantic]\nacme = acme_plugin:plugin\n")
    code = f"import sys\nsys.path.insert(0, {str(site)!r})\n{VERB}"
    arguments = json.dumps(["acme_plugin"]), "lookup", "-w", published.workspace, "--user", "buyer-0001"
    assert json.loads(python(code, *arguments).stderr.splitlines()[-1]) == []


def test_an_item_is_looked_up_by_faiss_alone(published: Shop) -> None:
    assert imported(COMPUTING, "lookup", "-w", published.workspace, "--item", "rec-0003") == ["faiss"]


@pytest.mark.parametrize("verb", ["extract", "fuse", "train", "rerank", "evaluate", "index"])
def test_a_step_that_is_there_already_computes_nothing(published: Shop, verb: str) -> None:
    settings = [part for setting in QUICK for part in ("-s", setting)]
    assert imported(COMPUTING, verb, "-c", published.config, "--run-id", "first", *settings) == []
    names = "extract.*.bucket-*" if verb == "extract" else verb
    receipts = [json.loads(path.read_text()) for path in published.workspace.glob(f"runs/first/steps/{names}.json")]
    assert receipts
    assert all(receipt["skipped"] for receipt in receipts)


def test_pandas_is_there_for_who_wants_it() -> None:
    code = """
from pipeline.runtime import arrow_without_pandas
arrow_without_pandas()
import sys, pyarrow as pa
assert "pandas" not in sys.modules
frame = pa.table({"a": [1, 2]}).to_pandas()
assert pa.Table.from_pandas(frame)["a"].to_pylist() == [1, 2]
assert pa.array(frame["a"]).to_pylist() == [1, 2]
"""
    python(code)
