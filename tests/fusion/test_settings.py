from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.config import FUSIONS, Config
from pipeline.config.load import explain
from tests.conftest import python


def refused(fuse: Any) -> str:
    with pytest.raises(ValidationError) as error:
        Config(fuse=fuse)
    return explain(error.value)


def test_a_kind_has_its_own_settings_and_no_others() -> None:
    assert FUSIONS.names() == ["align", "attention", "concat", "dnn", "gnn", "linear"]
    concat = Config(fuse={"kind": "concat", "weights": {"text": 2}}).fuse  # type: ignore[arg-type]
    assert (concat.weight("text"), concat.weight("video")) == (2, 1)
    assert set(concat.model_dump()) == {"kind", "width", "weights", "half_life_days", "users", "whitening"}
    assert "edge_dropout" in Config(fuse={"kind": "gnn"}).fuse.model_dump()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fuse", "said"),
    [
        (
            {"learned_weights": True},
            "unknown key fuse.learned_weights; fuse.kind linear learns its weights where",
        ),
        ({"graph": {"layers": 2}}, "unknown key fuse.graph; its settings stand beside fuse.kind gnn: fuse.layers"),
        (
            {"learn": {"hidden": 64}},
            "unknown key fuse.learn; it is a setting of fuse.kind align, attention, dnn",
        ),
        ({"kind": "dnn", "learn": {"hidden": 64}}, "unknown key fuse.learn.hidden; it is fuse.hidden now"),
        (
            {"kind": "align", "learn": {"align_agreement": 1}},
            "unknown key fuse.learn.align_agreement; it is fuse.learn.agreement",
        ),
        ({"kind": "linear", "whitening": True}, "unknown key fuse.whitening; it is a setting of fuse.kind concat"),
        ({"kind": "concta"}, "did you mean concat?"),
        ({"weights": {"text": -1}}, "fuse.weights.text"),
    ],
)
def test_a_key_of_another_kind_or_of_earlier_is_told_its_place_in_one_sentence(fuse: Any, said: str) -> None:
    assert said in refused(fuse)


def test_reading_settings_of_every_kind_imports_no_heavy_package() -> None:
    code = (
        "import sys; from pipeline.config import FUSIONS; [FUSIONS.find(name) for name in FUSIONS.names()]; "
        "print([name for name in ('torch', 'faiss', 'pyarrow', 'pandas', 'scipy') if name in sys.modules])"
    )
    assert python(code).stdout.strip() == "[]"
