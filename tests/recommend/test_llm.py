"""What the language model promises: it reads titles and vectors, never the future, and trains what it says it does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from pipeline.config import load
from pipeline.errors import ConfigError, WeightsError
from pipeline.evaluation.metrics import Task, inner_product, mean_of, rank
from pipeline.interactions import Interactions, unit_rows
from pipeline.night import begin
from pipeline.recommend import kind_of
from pipeline.recommend.base import Content
from pipeline.recommend.llm_checkpoint import language_model
from pipeline.recommend.llm_network import Reader
from pipeline.recommend.models.llm import LanguageModel, LlmSettings, Scratch
from pipeline.recommend.models.sequence import SemanticIds
from pipeline.recommend.sequence_network import code_vectors
from pipeline.steps import extract, fuse, ingest
from pipeline.steps.ingest import staged_of
from pipeline.steps.train import content_of
from tests import checkpoints
from tests.conftest import AS_OF, Shop
from tests.recommend.test_sequence import log_of

ITEMS, NEW, GROUPS, USERS, LENGTH = 48, 8, 4, 60, 7
WIDTH = 8
SMALL = LlmSettings(
    weights="",
    tuning="full",
    scratch=Scratch(layers=1, width=16, heads=2, vocabulary=300),
    width=16,
    history_items=6,
    title_tokens=4,
    batch_positions=64,
    dropout=0.0,
    averaging=0.5,
    max_epochs=8,
    learning_rate=1e-2,
    model_learning_rate=1e-2,
)


class World:
    """Users who keep to one group of items, whose titles and vectors tell it; the last NEW items are never chosen.

    An item has no vector, and another no title.
    """

    def __init__(self) -> None:
        generator = np.random.default_rng(0)
        self.group = np.arange(ITEMS) % GROUPS
        noise = generator.standard_normal((ITEMS, WIDTH)).astype(np.float32)
        vectors = unit_rows(2 * np.eye(GROUPS, WIDTH, dtype=np.float32)[self.group] + 0.4 * noise)
        present = np.arange(ITEMS) != 3
        vectors[~present] = 0
        titles = [f"{['red', 'green', 'blue', 'black'][group]} {at}" for at, group in enumerate(self.group)]
        titles[5] = ""
        self.content = Content(vectors, present, titles=titles)
        old = np.arange(ITEMS) < ITEMS - NEW
        histories = [
            generator.choice(np.flatnonzero((self.group == user % GROUPS) & old), LENGTH, replace=False).tolist()
            for user in range(USERS)
        ]
        self.log = log_of(histories, ITEMS)
        self.train, self.validation = self.log.subset(self.log.age_days > 0), self.log.subset(self.log.age_days == 0)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.write("qwen3", tmp_path_factory.mktemp("qwen3"))


def changed(checkpoint: Path, **settings: object) -> LlmSettings:
    return LlmSettings.model_validate(
        {**SMALL.model_dump(), "weights": f"path:{checkpoint}", "tuning": "lora", **settings}
    )


def ndcg(model: LanguageModel, train: Interactions, validation: Interactions) -> float:
    task = Task(train, validation)
    return mean_of(model.scorer(train), task, "ndcg@10")


@pytest.mark.parametrize("tuning", ["frozen", "lora", "full"])
def test_a_planted_taste_is_learned(world: World, checkpoint: Path, tuning: str) -> None:
    model = LanguageModel(changed(checkpoint, tuning=tuning), 0, 1)
    fit = model.fit(world.content, world.train, world.validation)
    assert fit.curve[-1]["loss"] < fit.curve[0]["loss"]
    found = ndcg(model, world.train, world.validation)
    assert found == pytest.approx(max(epoch["ndcg@10"] for epoch in fit.curve), abs=1e-9)
    # Of ten items of a group, six are seen: whoever knows the group has the seventh among four.
    assert found > 0.45
    assert found > 2 * popularity(world)


def popularity(world: World) -> float:
    counts = np.bincount(world.train.item, minlength=ITEMS).astype(np.float32)[:, None]
    users = np.ones((USERS, 1), np.float32)
    found = rank(inner_product(users, counts), Task(world.train, world.validation), (10,)).values["ndcg@10"]
    return float(found.mean())


def test_a_model_from_scratch_learns_and_the_same_seed_gives_the_same_bytes(world: World, tmp_path: Path) -> None:
    made = []
    for seed in (0, 0, 1):
        model = LanguageModel(SMALL, seed, 1)
        model.fit(world.content, world.train, epochs=2)
        model.save(tmp_path)
        made.append((model.user_vectors(world.train).tobytes(), (tmp_path / "model.safetensors").read_bytes()))
        torch.rand(3)
    assert made[0] == made[1]
    assert made[0][0] != made[2][0]
    model.fit(world.content, world.train, world.validation)
    assert ndcg(model, world.train, world.validation) > 2 * popularity(world)


@pytest.mark.parametrize(
    ("tuning", "moved"),
    [
        ("frozen", ()),
        ("lora", ("reader.soft.", "reader.codes.", "reader.network.")),
        ("full", ("reader.soft.", "reader.codes.", "reader.network.")),
    ],
)
def test_training_changes_what_it_says_and_nothing_else(
    world: World, checkpoint: Path, tuning: str, moved: tuple[str, ...]
) -> None:
    model = LanguageModel(changed(checkpoint, tuning=tuning, semantic_ids={"levels": 2, "codes": 4}), 0, 1)
    starts = {}
    for epochs in (1, 2):
        model.fit(world.content, world.train, epochs=epochs)
        starts[epochs] = {name: value.clone() for name, value in model._network.state_dict().items()}
    found = {name for name, value in starts[1].items() if not torch.equal(value, starts[2][name])}
    assert {"items.ids", "items.content.weight", "items.shared.table", "head.weight"} <= found
    inside = {name for name in found if name.startswith("reader.")}
    assert inside == {name for name in inside if name.startswith(moved)}
    for prefix in moved:
        assert any(name.startswith(prefix) for name in inside)
    inner = {name for name in inside if name.startswith("reader.network.")}
    lora = {name for name in starts[1] if ".lora_" in name}
    assert bool(lora) == (tuning == "lora")
    if tuning == "lora":
        assert inner == lora
    if tuning == "full":
        assert {name for name in starts[1] if name.endswith("proj.weight")} <= inner


def test_what_is_saved_is_what_was_trained(world: World, checkpoint: Path, tmp_path: Path) -> None:
    sizes = {}
    for tuning in ("frozen", "lora", "full"):
        model = LanguageModel(changed(checkpoint, tuning=tuning, rank=1), 0, 1)
        model.fit(world.content, world.train, epochs=1)
        model.save(tmp_path)
        names = {name for name in load_file(tmp_path / "model.safetensors") if name.startswith("reader.network.")}
        assert all(".lora_" in name for name in names) == (tuning != "full")
        sizes[tuning] = len(names), (tmp_path / "model.safetensors").stat().st_size
    assert sizes["frozen"][0] == 0
    assert sizes["frozen"][1] < sizes["lora"][1] < sizes["full"][1]


def test_a_new_item_scores_by_its_content(world: World, checkpoint: Path) -> None:
    model = LanguageModel(changed(checkpoint, tuning="frozen", id_dropout=0.5), 0, 1)
    assert model.inductive
    model.fit(world.content, world.train, epochs=8)
    new = np.arange(ITEMS - NEW, ITEMS)
    best = new[(model.user_vectors(world.train) @ model.item_vectors[new].T).argmax(axis=1)]
    assert (world.group[best] == np.arange(USERS) % GROUPS).mean() > 0.9


def test_a_saved_model_gives_its_items_again_and_with_other_content(world: World, tmp_path: Path) -> None:
    settings = SMALL.model_copy(update={"semantic_ids": SemanticIds(levels=2, codes=4)})
    model = LanguageModel(settings, 0, 1)
    model.fit(world.content, world.train, epochs=2)
    model.save(tmp_path)
    side = kind_of("llm").item_side(tmp_path)
    codes = np.random.default_rng(0).permutation(ITEMS)
    again = side.vectors(Content(world.content.vectors[codes], world.content.present[codes]), codes, ())
    np.testing.assert_allclose(again, model.item_vectors[codes], atol=1e-5)
    other = side.vectors(Content(world.content.vectors[::-1], world.content.present[::-1]), np.arange(ITEMS), ())
    assert np.abs(other - model.item_vectors)[:, :-1].max(axis=1).min() > 1e-4


def reader(world: World, settings: LlmSettings) -> Reader:
    network, tokenizer = language_model(settings, world.content.titles, 0)
    shared = code_vectors(world.content, settings.semantic_ids, settings.width, 0)
    return Reader(network, tokenizer, world.content, settings, shared).eval()


@pytest.mark.parametrize("levels", [0, 2])
def test_a_state_knows_the_past_its_titles_and_vectors_and_not_the_future(
    world: World, checkpoint: Path, levels: int
) -> None:
    settings = changed(checkpoint, frozen_precision="float32", semantic_ids={"levels": levels, "codes": 4})
    made = reader(world, settings)
    items = np.array([[0, 1, 2, 4], [8, 9, 10, 11]])
    size = np.array([4, 4])
    with torch.no_grad():
        whole = made(items, size)
        later = made(np.array([[0, 1, 2, 6], [8, 9, 10, 11]]), size)
        short = made(items[:1, :2], np.array([2]))
        earlier = made(np.array([[7, 1, 2, 4], [8, 9, 10, 11]]), size)
    torch.testing.assert_close(whole[0, :3], later[0, :3])
    torch.testing.assert_close(whole[0, :2], short[0], atol=1e-5, rtol=1e-4)
    assert (whole[0, 3] - later[0, 3]).abs().max() > 1e-3
    assert (whole[0] - earlier[0]).abs().amax(dim=1).min() > 1e-3
    torch.testing.assert_close(whole[1], earlier[1])
    for change in ({"titles": ["other"] * ITEMS}, {"vectors": world.content.vectors[::-1].copy()}):
        other = World()
        other.content = replace(world.content, **change)
        made_of = reader(
            other, changed(checkpoint, frozen_precision="float32", semantic_ids={"levels": levels, "codes": 4})
        )
        with torch.no_grad():
            assert (made_of(items, size) - whole).abs().max() > 1e-3


def test_a_frozen_model_reads_a_history_once(world: World, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    plain = Reader.forward

    def counted(self: Reader, items: np.ndarray, size: np.ndarray) -> torch.Tensor:
        read.extend(size.tolist())
        return plain(self, items, size)

    monkeypatch.setattr(Reader, "forward", counted)
    settings = changed(checkpoint, tuning="frozen", history_items=8, patience_epochs=8)
    model = LanguageModel(settings, 0, 1)
    model.fit(world.content, world.train, world.validation)
    # Every user's training history, in one stretch, from which both the epochs and validation are served.
    assert sum(read) == len(world.train)
    model.user_vectors(world.log)
    assert sum(read) == len(world.train) + len(world.log)


def test_a_forgotten_history_is_read_again_and_gives_the_same(
    world: World, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    for most in (10**6, 0):
        monkeypatch.setattr("pipeline.recommend.models.llm.MOST_STATES", most)
        model = LanguageModel(changed(checkpoint, tuning="frozen"), 0, 1)
        model.fit(world.content, world.train, epochs=2)
        made.append(model.user_vectors(world.train))
    np.testing.assert_allclose(*made, atol=1e-3)


def test_no_history_is_a_zero_row_and_others_do_not_matter(world: World, checkpoint: Path) -> None:
    model = LanguageModel(changed(checkpoint, frozen_precision="float32"), 0, 1)
    model.fit(world.content, world.train, epochs=1)
    users = model.user_vectors(log_of([[1, 2, 5], [], [9, 13, 17, 21, 25, 29, 33, 37]], ITEMS))
    assert users.shape == (3, SMALL.width + 1)
    assert not users[1].any()
    np.testing.assert_allclose(model.user_vectors(log_of([[1, 2, 5]], ITEMS))[0], users[0], atol=1e-3)
    latest = model.user_vectors(log_of([[17, 21, 25, 29, 33, 37]], ITEMS))[0]
    np.testing.assert_allclose(latest, users[2], atol=1e-3)


def test_fewer_layers_are_kept_and_more_are_refused(world: World, checkpoint: Path) -> None:
    assert len(reader(world, changed(checkpoint, kept_layers=1)).network.layers) == 1
    with pytest.raises(ConfigError, match=r"train\.kept_layers: the model has 2 layers, not 3"):
        reader(world, changed(checkpoint, kept_layers=3))


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        ("path:/no/such/folder", "weights path:/no/such/folder: /no/such/folder does not exist"),
        ("package:no_such_package", "package no_such_package is not installed"),
    ],
)
def test_wrong_weights_are_one_sentence(world: World, weights: str, sentence: str) -> None:
    settings = LlmSettings.model_validate({**SMALL.model_dump(), "weights": weights, "tuning": "lora"})
    with pytest.raises(WeightsError, match=sentence) as raised:
        LanguageModel(settings, 0, 1).fit(world.content, world.train, epochs=1)
    assert "\n" not in str(raised.value)


def test_a_model_that_reads_both_ways_is_refused(world: World, tmp_path: Path) -> None:
    folder = checkpoints.write("bert", tmp_path)
    with pytest.raises(WeightsError, match="needs a causal language model"):
        reader(world, changed(folder))


def test_a_history_longer_than_the_models_positions_is_refused(world: World, checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match=r"lower train\.history_items"):
        reader(world, changed(checkpoint, history_items=40_000))


def test_a_model_from_scratch_must_be_trained() -> None:
    with pytest.raises(ValueError, match="must be full where weights are empty"):
        LlmSettings(weights="", tuning="lora")
    with pytest.raises(ValueError, match="twice of it must divide width, which is 12"):
        Scratch(width=12, heads=4)


def test_a_night_hands_over_the_titles_in_the_catalogues_order(shop: Shop, tmp_path: Path) -> None:
    change = (f"workspace={tmp_path}", "extract.image=null", "extract.audio=null", "extract.text={encoder: tfidf}")
    night = begin(load(shop.config, change), AS_OF, "a")
    ingest.run(night)
    extract.run(night, "text")
    fuse.run(night)
    log = staged_of(night).read_log()
    titles = dict(zip(*staged_of(night).items(["item_id", "title"]).to_pydict().values(), strict=True))
    assert list(content_of(night, log, kind_of("llm").reads).titles) == [titles[item] for item in log.items]
    assert not content_of(night, log, kind_of("two_tower").reads).titles
