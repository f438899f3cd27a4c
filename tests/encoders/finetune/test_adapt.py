from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, BertConfig, BertModel

from pipeline.config import Config
from pipeline.config.shared import Adapt
from pipeline.encoders import Prepared, Text, make
from pipeline.encoders.engine.network import NetworkEncoder
from pipeline.encoders.finetune.adapt import FILE, Task, blocks_of, pairs_of, restore, train
from pipeline.encoders.finetune.augment import augment
from pipeline.encoders.text.kinds.transformer import TransformerText
from pipeline.encoders.weights import locate
from pipeline.errors import StepFailed, WeightsError
from pipeline.interactions import Interactions
from pipeline.training.context import Context

# Two tastes that words alone do not show: items of one taste share no word with one another.
WORDS = ["sea", "tax", "owl", "jazz", "snow", "salt", "iron", "corn", "lamp", "rope", "wolf", "silk"]
ITEMS = [f"{a} {b}" for a in WORDS for b in WORDS if a != b]
TASTE = np.asarray([WORDS.index(text.split()[0]) % 2 for text in ITEMS])


def log_of(user: list[int], item: list[int]) -> Interactions:
    n = len(user)
    age = np.arange(n, 0, -1, dtype=np.float64)
    return Interactions(
        np.asarray(user, np.int32), np.asarray(item, np.int32), age, np.ones(n, np.float32), max(user) + 1, len(ITEMS)
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small text model of four blocks, as a transformers folder."""
    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=30_522, **shape)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(locate(TransformerText().weights)).save_pretrained(folder)
    return folder


def encoder_of(folder: Path, prepared: Path | None = None, **adapt: object) -> NetworkEncoder:
    text = {"weights": f"path:{folder}", "adapt": {"epochs": 4, "learning_rate": 3e-3, **adapt}}
    known = Prepared(prepared, "fitted") if prepared else None
    encoder = make(Config.model_validate({"extract": {"text": text}}), "text", known)
    assert isinstance(encoder, NetworkEncoder)
    encoder.load()
    return encoder


def task_of(encoder: NetworkEncoder, pairs: np.ndarray) -> Task:
    def fetch(codes: np.ndarray) -> list[np.ndarray | None]:
        return [encoder.decode(Text({"title": "", "text": ITEMS[code]}))[0] for code in codes]

    return Task("text", pairs, fetch, Context())


def pairs_of_tastes(n: int = 400) -> np.ndarray:
    generator = np.random.default_rng(0)
    first = generator.integers(0, len(ITEMS), n)
    second = [int(generator.choice(np.flatnonzero(TASTE[code] == TASTE))) for code in first]
    pairs = np.stack([first, second], axis=1).astype(np.int32)
    return pairs[pairs[:, 0] != pairs[:, 1]]


def told_apart(encoder: NetworkEncoder) -> float:
    """Mean cosine within a taste minus that across tastes."""
    vectors = encoder.embed([encoder.decode(Text({"title": "", "text": text})) for text in ITEMS])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines, same = vectors @ vectors.T, TASTE[:, None] == TASTE[None]
    return float(cosines[same].mean() - cosines[~same].mean())


@pytest.mark.parametrize(("method", "rate"), [("lora", 2e-2), ("last_layers", 3e-3)])
def test_co_chosen_items_become_neighbours_and_the_saved_weights_give_the_same_vectors(
    folder: Path, tmp_path: Path, method: str, rate: float
) -> None:
    plain = told_apart(encoder_of(folder))
    settings = {"method": method, "learning_rate": rate, "epochs": 8, "augment": False}
    encoder = encoder_of(folder, **settings)
    losses = train(encoder, task_of(encoder, pairs_of_tastes()), tmp_path)
    assert 2 <= len(losses) <= 9
    assert min(losses) < losses[0]
    again = encoder_of(folder, tmp_path, **settings)
    assert told_apart(again) > plain + 0.1
    trained = again.network.state_dict()
    original = encoder_of(folder).network.state_dict()
    changed = {name for name in original if not torch.equal(original[name], trained[name])}
    assert changed
    assert all("layer.2." in name or "layer.3." in name for name in changed)


def test_the_same_training_twice_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        encoder = encoder_of(folder, epochs=1)
        train(encoder, task_of(encoder, pairs_of_tastes(60)), tmp_path / name)
    assert (tmp_path / "one" / FILE).read_bytes() == (tmp_path / "two" / FILE).read_bytes()


def test_training_that_does_not_help_on_held_out_pairs_changes_nothing(folder: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    encoder = encoder_of(folder, learning_rate=1.0, epochs=1)
    pairs = generator.permuted(np.stack([np.arange(120), np.arange(120)[::-1]], 1)[:60], axis=0).astype(np.int32)
    losses = train(encoder, task_of(encoder, pairs), tmp_path)
    assert losses[1] > losses[0]
    vectors = [
        e.embed([e.decode(Text({"title": "", "text": "sea"}))])
        for e in (encoder_of(folder), encoder_of(folder, tmp_path))
    ]
    np.testing.assert_array_equal(*vectors)


def test_pairs_are_neighbours_in_a_history_each_once_and_never_across_users() -> None:
    log = log_of([0, 0, 0, 0, 1, 1], [3, 5, 5, 3, 7, 8])
    assert {tuple(pair) for pair in pairs_of(log, Adapt(), 0)} == {(3, 5), (7, 8)}
    assert len(pairs_of(log, Adapt(pairs=2), 0)) == 2
    many = log_of([0] * 50, list(range(50)))
    assert len(pairs_of(many, Adapt(pairs=10), 0)) == 10


def test_too_few_pairs_are_one_sentence(folder: Path, tmp_path: Path) -> None:
    encoder = encoder_of(folder)
    with pytest.raises(StepFailed, match=r"extract\.text\.adapt: 3 pairs .*set adapt to null"):
        train(encoder, task_of(encoder, pairs_of_tastes(3)), tmp_path)


def test_adapted_weights_that_are_gone_are_one_sentence(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="run the night with --full"):
        restore(encoder_of(folder).network, tmp_path)


def test_the_last_blocks_are_found_in_networks_of_any_kind() -> None:
    import timm
    from torchvision.models import resnet18, vit_b_16

    assert blocks_of(resnet18())[-1][0] == "layer4.1"
    assert blocks_of(vit_b_16())[-1][0].endswith("encoder_layer_11")
    assert blocks_of(timm.create_model("tf_efficientnet_lite0"))[-1][0] == "blocks.6"


@pytest.mark.parametrize(
    ("part", "modality"),
    [
        (np.random.default_rng(0).integers(0, 255, (40, 30, 3), dtype=np.uint8), "image"),
        (np.random.default_rng(0).standard_normal((3, 40, 40)).astype(np.float32), "image"),
        (np.random.default_rng(0).standard_normal(8000).astype(np.float32), "audio"),
        (np.random.default_rng(0).standard_normal((64, 50)).astype(np.float32), "audio"),
    ],
)
def test_an_augmented_part_differs_and_keeps_its_shape_and_kind(part: np.ndarray, modality: str) -> None:
    other = part[..., ::-1].copy()
    changed = [augment(part, modality, other, np.random.default_rng(seed)) for seed in (1, 2, 2)]
    for one in changed:
        assert one.shape == part.shape
        assert one.dtype == part.dtype
        assert not np.array_equal(one, part)
    assert not np.array_equal(changed[0], changed[1])
    np.testing.assert_array_equal(changed[1], changed[2])


def test_dropped_tokens_keep_the_first_and_the_last() -> None:
    tokens = np.arange(100, 400, dtype=np.int64)
    fewer = augment(tokens, "text", tokens, np.random.default_rng(0))
    assert 200 < len(fewer) < 300
    assert (fewer[0], fewer[-1]) == (100, 399)
    assert np.isin(fewer, tokens).all()
