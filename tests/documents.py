"""The project's documents, and which of their code blocks is run by which name."""

from __future__ import annotations

import re
from pathlib import Path

from tests.conftest import ROOT

DOCUMENTS = sorted(
    str(page.relative_to(ROOT))
    for page in [*ROOT.glob("*.md"), *ROOT.glob("pipeline/**/README.md"), *ROOT.glob("tests/**/README.md")]
)
# Name to page, language, and a text that the block holds; a test that runs one asks for it by `block`.
RUN = {
    "two commands": ("README.md", "sh", "make demo"),
    "wheel": ("README.md", "sh", "pip wheel"),
    "items.sql": ("README.md", "sql", "as item_id, name"),
    "interactions.sql": ("README.md", "sql", "as user_id"),
    "yaml": ("README.md", "yaml", "items: items.sql"),
    "own data": ("README.md", "sh", "medley status"),
    "second day": ("README.md", "sh", "# the next day"),
    "six lines": ("README.md", "python", "read_index"),
    "index": ("README.md", "python", "Index.open"),
    "own encoder": ("pipeline/encoders/README.md", "python", "class Trigrams"),
    "own encoder's package": ("pipeline/encoders/README.md", "toml", "entry-points"),
    "own encoder's yaml": ("pipeline/encoders/README.md", "yaml", "acme_trigrams"),
    "own fusion": ("pipeline/fusion/README.md", "python", "class "),
    "own fusion's package": ("pipeline/fusion/README.md", "toml", "entry-points"),
    "own recommender": ("pipeline/recommend/README.md", "python", "class "),
    "own recommender's package": ("pipeline/recommend/README.md", "toml", "entry-points"),
    "metric": ("pipeline/evaluation/README.md", "python", "precision@k"),
}


def blocks(page: Path) -> list[tuple[str, str]]:
    """A page's fenced code blocks that name a language, as (language, code)."""
    return re.findall(r"^```(\w+)\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def block(name: str) -> str:
    """The code of a block of RUN."""
    page, language, holding = RUN[name]
    return next(code for kind, code in blocks(ROOT / page) if kind == language and holding in code)
