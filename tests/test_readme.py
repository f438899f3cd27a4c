"""The README's promises, kept by running them. `python -m tests.test_readme` writes its table of settings anew."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pipeline.config import MODALITIES, Schema, kinds_of, leaves
from pipeline.config.shared import Adapt
from pipeline.serving.lookup import Query, ask
from tests.conftest import ROOT, Shop, medley

README = ROOT / "README.md"
BEGIN, END = "<!-- settings -->\n", "<!-- end of settings -->"
REQUIRED = {"own": {"entry_point": ""}, "array": {"file": ""}}
KINDS, END_KINDS = "<!-- kinds -->\n", "<!-- end of kinds -->"


def reference() -> str:
    """Every setting with its default and what it is, as a Markdown table."""
    rows = [f"| `{path}` | `{json.dumps(s['default'], ensure_ascii=False)}` | {meaning(s)} |" for path, s in leaves()]
    return "\n".join(["", "| setting | default | what it is |", "|---|---|---|", *rows, ""])


def kinds() -> str:
    """Every kind of encoder with its settings and their defaults, as Markdown tables."""
    lines = []
    for modality in MODALITIES:
        lines += ["", f"| `extract.{modality}.encoder` | its settings and their defaults |", "|---|---|"]
        for kind, model in kinds_of(modality).items():
            chosen = {"encoder": kind, **REQUIRED.get(kind, {})}
            found = leaves(model.model_construct(**chosen))
            shown = [
                f"`{path}: {json.dumps(s['default'], ensure_ascii=False)}`" for path, s in found if path != "encoder"
            ]
            lines.append(f"| `{kind}` | {' · '.join(shown)} |")
    adapt = [f"`{path}: {json.dumps(s['default'])}`" for path, s in leaves(Adapt())]
    return "\n".join([*lines, "", f"`adapt`, null by default, takes {' · '.join(adapt)}.", ""])


def meaning(schema: Schema) -> str:
    types = {
        "boolean": "true or false",
        "integer": "whole number",
        "number": "number",
        "array": "list",
        "object": "keys and values",
        "string": "text",
    }
    choices = [schema["const"]] if "const" in schema else schema.get("enum", [])
    kind = " or ".join(f"`{choice}`" for choice in choices) or types[schema["type"]]
    described = schema.get("description")
    return f"{described} ({kind})" if described and choices else described or kind


def block(language: str, holding: str) -> str:
    """The README's code block of a language that holds a text."""
    found = re.findall(rf"```{language}\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    return next(code for code in found if holding in code)


def test_the_table_of_settings_is_the_configs_own() -> None:
    text = README.read_text("utf-8")
    assert text.split(BEGIN)[1].split(END)[0] == reference(), "run: python -m tests.test_readme"
    assert text.split(KINDS)[1].split(END_KINDS)[0] == kinds(), "run: python -m tests.test_readme"


def test_the_six_lines_open_the_index_and_give_what_lookup_gives(published: Shop, tmp_path: Path) -> None:
    code = block("python", "read_index")
    (tmp_path / "workspace").symlink_to(published.workspace)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    hits = ask(published.workspace, Query(user="buyer-0001")).hits
    assert done.stdout.strip() == str([hit.item_id for hit in hits])


def test_two_queries_and_a_yaml_are_enough_for_ones_own_data(tmp_path: Path) -> None:
    (tmp_path / "medley.yaml").write_text(block("yaml", "items: items.sql"))
    (tmp_path / "items.sql").write_text(block("sql", "as item_id, name"))
    (tmp_path / "interactions.sql").write_text(block("sql", "as user_id"))
    (tmp_path / "photos").mkdir()
    products = ["sku,name,description,photo,sample,category"]
    for i in range(60):
        Image.new("RGB", (40, 40), (i * 4, 90, 200 - i)).save(tmp_path / f"photos/{i}.png")
        products.append(f"{i},thing {i},a thing for purpose {i % 5},photos/{i}.png,,c{i % 3}")
    (tmp_path / "products.csv").write_text("\n".join(products) + "\n")
    (tmp_path / "sales").mkdir()
    sales = {
        "customer": [4711 + i % 30 for i in range(600)],
        "sku": [(i * 7 + i // 30 * 3) % 60 for i in range(600)],
        "sold_at": pa.array([1_700_000_000 + 3_600 * i for i in range(600)], pa.timestamp("s")),
    }
    pq.write_table(pa.table(sales), tmp_path / "sales/2023.parquet")
    quick = ("-s", "train.max_epochs=2", "-s", "publish.gate.min_ratio=0", "-s", "evaluate.bootstrap_samples=20")
    medley("run", "-c", tmp_path / "medley.yaml", *quick)
    answer = json.loads(medley("lookup", "-w", tmp_path / "workspace", "--user", 4711, "--json").stdout)
    assert len(answer["hits"]) == 10


def written_anew(text: str, begin: str, end: str, table: str) -> str:
    before, rest = text.split(begin)
    return before + begin + table + end + rest.split(end)[1]


if __name__ == "__main__":
    settings = written_anew(README.read_text("utf-8"), BEGIN, END, reference())
    README.write_text(written_anew(settings, KINDS, END_KINDS, kinds()), "utf-8")
