from __future__ import annotations

import json
import pickle
import shutil
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gensim.models import KeyedVectors, Word2Vec
from pydantic import ValidationError
from safetensors.numpy import save_file

from pipeline.config import Config
from pipeline.encoders import make
from pipeline.encoders.fitted import DOCUMENT, TENSORS
from pipeline.encoders.text.kinds.glove import GloveText, WordTextEncoder
from pipeline.encoders.text.kinds.word2vec import Word2VecText, Word2VecTextEncoder
from pipeline.encoders.text.segment import words
from pipeline.encoders.text.word_vectors import packed, read_vectors
from pipeline.encoders.weights import locate
from pipeline.errors import MediaError, StepFailed, WeightsError
from pipeline.storage.files import sha256_of
from tests.conftest import python
from tests.text_items import bytes_of, corpus, fitted, item, one_by_one, unit, vectors

WORDS = ["sea", "wave", "harbour", "neon", "street", "the", "record", "大海", "London"]
MATRIX = np.random.default_rng(3).normal(size=(len(WORDS), 4)).astype(np.float32)
TRAINED = Word2VecText(width=8, epochs=3)
POOLED = [GloveText(pooling=pooling) for pooling in ("mean", "max", "sif")]


def encoder_of(settings: GloveText | Word2VecText) -> WordTextEncoder:
    return Word2VecTextEncoder(settings) if isinstance(settings, Word2VecText) else WordTextEncoder(settings)


def glove_matrix() -> tuple[dict[str, int], np.ndarray]:
    folder = locate(GloveText().weights)
    index = pq.read_table(folder / "glove_6B_index.parquet")["index"].to_pylist()
    return {word: row for row, word in enumerate(index)}, np.load(folder / "glove_6B_50d_emb.npy")


def word_files(folder: Path) -> dict[str, Path]:
    """The same vectors in every form that is read."""
    held = KeyedVectors(MATRIX.shape[1])
    held.add_vectors(WORDS, MATRIX)
    made = {name: folder / name for name in ("text.txt", "binary.bin", "zipped.txt.gz", "glove.txt", "own.safetensors")}
    for name in ("text.txt", "zipped.txt.gz"):
        held.save_word2vec_format(str(made[name]))
    held.save_word2vec_format(str(made["binary.bin"]), binary=True)
    made["glove.txt"].write_text("".join(made["text.txt"].read_text().splitlines(keepends=True)[1:]))
    save_file({"vectors": MATRIX, "words": packed(WORDS).copy()}, made["own.safetensors"])
    made["folder"] = folder / "folder"
    made["folder"].mkdir()
    np.save(made["folder"] / "vectors.npy", np.asfortranarray(MATRIX))
    pq.write_table(pa.table({"index": WORDS}), made["folder"] / "index.parquet")
    return made


@pytest.mark.parametrize("name", ["text.txt", "binary.bin", "zipped.txt.gz", "glove.txt", "own.safetensors", "folder"])
def test_every_form_of_word_vectors_is_read(name: str, tmp_path: Path) -> None:
    path = word_files(tmp_path)[name]
    encoder = make(
        Config.model_validate(
            {"extract": {"text": {"encoder": "glove", "weights": f"path:{path}", "pooling": "mean"}}}
        ),
        "text",
    )
    encoder.load()
    assert encoder.width == 4
    ours = vectors(encoder, ["The SEA, unheard of", "大海 london"])
    np.testing.assert_allclose(ours, [MATRIX[[5, 0]].mean(0), MATRIX[[7, 8]].mean(0)], atol=1e-5)


def test_the_packaged_vectors_are_mapped_and_those_of_their_files() -> None:
    rows, matrix = glove_matrix()
    read = read_vectors(locate(GloveText().weights))
    assert isinstance(read.matrix, np.memmap)
    found = read.known(["Sea", "sea", "ocean", "qqzzqq"])
    assert found.tolist() == [rows["sea"], rows["ocean"]]
    np.testing.assert_array_equal(read.matrix[found], matrix[found])


def test_a_word_finds_its_own_spelling_first_and_else_another_case(tmp_path: Path) -> None:
    spelled = ["Apple", "APPLE", "US", "us", "ﬁre"]
    save_file({"vectors": np.eye(5, dtype=np.float32), "words": packed(spelled).copy()}, tmp_path / "x.safetensors")
    assert read_vectors(tmp_path / "x.safetensors").known(["apple", "us", "fire"]).tolist() == [0, 3, 4]


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_pooling_is_over_the_words_that_have_a_vector(pooling: str, tmp_path: Path) -> None:
    rows, matrix = glove_matrix()
    encoder = fitted(WordTextEncoder(GloveText.model_validate({"pooling": pooling})), [], tmp_path)
    assert not encoder.fits
    for text in corpus()[:5]:
        known = matrix[[rows[word] for word in words(text)]]
        expected = known.mean(0) if pooling == "mean" else known.max(0)
        np.testing.assert_allclose(vectors(encoder, [f"{text} qqzzqq"])[0], expected, atol=1e-5)


def sif_by_hand(texts: list[str], rows: dict[str, int], matrix: np.ndarray, a: float) -> np.ndarray:
    """Arora, Liang and Ma (2017), algorithm 1, word by word."""
    counted = Counter(word for text in texts for word in words(text))
    total = sum(counted.values())
    means = []
    for text in texts:
        known = [word for word in words(text) if word in rows]
        weighted = [a / (a + counted[word] / total) * matrix[rows[word]].astype(np.float64) for word in known]
        means.append(np.sum(weighted, axis=0) / len(known))
    stacked = np.asarray(means)
    common = np.linalg.svd(stacked, full_matrices=False)[2][0]
    return stacked - np.outer(stacked @ common, common)


@pytest.mark.parametrize("a", [1e-3, 0.1])
def test_sif_is_the_algorithm_of_its_paper(a: float, tmp_path: Path) -> None:
    texts = [f"{text} qqzzqq" for text in corpus()]
    encoder = fitted(WordTextEncoder(GloveText(sif_a=a)), texts, tmp_path)
    rows, matrix = glove_matrix()
    np.testing.assert_allclose(vectors(encoder, texts), sif_by_hand(texts, rows, matrix, a), atol=1e-5)


def test_sif_over_trained_vectors_is_the_same_algorithm(tmp_path: Path) -> None:
    encoder = fitted(Word2VecTextEncoder(TRAINED), corpus(), tmp_path)
    expected = sif_by_hand(corpus(), dict(encoder.vectors.rows), encoder.vectors.matrix, 1e-3)
    np.testing.assert_allclose(vectors(encoder, corpus()), expected, atol=1e-5)


def test_a_catalogue_of_a_few_texts_keeps_what_they_share(tmp_path: Path) -> None:
    encoder = fitted(WordTextEncoder(GloveText()), ["a quiet sea"], tmp_path)
    assert not encoder.common.any()
    assert np.linalg.norm(vectors(encoder, ["a quiet sea"])) > 0.01


def test_trained_vectors_are_those_of_gensim(tmp_path: Path) -> None:
    settings = TRAINED.model_copy(update={"pooling": "mean", "context_words": 3})
    encoder = fitted(Word2VecTextEncoder(settings), corpus(), tmp_path)
    model = Word2Vec(
        [words(text) for text in corpus()], vector_size=8, window=3, min_count=2, sg=1, epochs=3, seed=1, workers=1
    )
    expected = [np.mean([model.wv[word] for word in words(text) if word in model.wv], axis=0) for text in corpus()]
    np.testing.assert_allclose(vectors(encoder, corpus()), expected, atol=1e-5)


def test_trained_vectors_serve_another_catalogue_as_a_file(tmp_path: Path) -> None:
    settings = TRAINED.model_copy(update={"pooling": "max"})
    trained = fitted(Word2VecTextEncoder(settings), corpus(), tmp_path / "here")
    elsewhere = Word2VecTextEncoder(Word2VecText(weights=f"path:{tmp_path / 'here' / TENSORS}", pooling="max"))
    assert not elsewhere.fits
    elsewhere.load()
    np.testing.assert_array_equal(vectors(trained, corpus()), vectors(elsewhere, corpus()))


@pytest.mark.parametrize("settings", [TRAINED, GloveText()], ids=["trained", "glove"])
def test_the_same_texts_give_the_same_bytes_and_nothing_else_is_left(
    settings: GloveText | Word2VecText, tmp_path: Path
) -> None:
    for name in ("one", "other"):
        fitted(encoder_of(settings), corpus(), tmp_path / name)
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "other")
    assert set(bytes_of(tmp_path / "one")) == {TENSORS, DOCUMENT}


def test_training_repeats_in_a_process_that_hashes_words_otherwise(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.text_items import corpus\n"
        "from pipeline.encoders.text.kinds import word2vec as kind\n"
        "kind.Word2VecTextEncoder(kind.Word2VecText(width=8, epochs=3)).fit(iter(corpus()), Path(sys.argv[1]))"
    )
    for seed in ("1", "2"):
        (tmp_path / seed).mkdir()
        python(code, tmp_path / seed, env={"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"})
    assert bytes_of(tmp_path / "1") == bytes_of(tmp_path / "2")


@pytest.mark.parametrize("settings", [*POOLED, TRAINED], ids=["mean", "max", "sif", "trained"])
def test_a_vector_alone_is_the_vector_among_others(settings: GloveText | Word2VecText, tmp_path: Path) -> None:
    encoder = fitted(encoder_of(settings), corpus(), tmp_path)
    np.testing.assert_allclose(vectors(encoder, corpus()[:32]), one_by_one(encoder, corpus()[:32]), atol=1e-5)


def test_words_of_one_topic_become_neighbours_in_training_in_chinese_too(tmp_path: Path) -> None:
    chinese = {"sea": "大海", "wave": "海浪", "harbour": "港口", "neon": "霓虹", "street": "街道", "taxi": "出租车"}
    texts = ["".join(chinese.get(word, "的") for word in words(text)) for text in corpus(400)]
    encoder = fitted(Word2VecTextEncoder(Word2VecText(width=16, epochs=30)), texts, tmp_path)
    sea, wave, neon = unit(vectors(encoder, ["大海", "海浪", "霓虹"]))
    assert sea @ wave > sea @ neon + 0.2


@pytest.mark.parametrize(
    ("text", "reason"), [("  ", "no text"), ("qqzzqq", "no known word"), ("大海", "no known word")]
)
def test_a_text_without_known_words_is_missing_with_its_reason(text: str, reason: str, tmp_path: Path) -> None:
    encoder = fitted(WordTextEncoder(GloveText()), corpus(), tmp_path)
    with pytest.raises(MediaError, match=f"^{reason}$"):
        encoder.decode(item(text))


def test_a_catalogue_without_a_word_to_fit_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match=r"no word of the catalogue occurs 2 times; lower extract\.text\.min_count"):
        Word2VecTextEncoder(Word2VecText()).fit(iter(["once upon a time"]), tmp_path)
    with pytest.raises(StepFailed, match="glove: no word of the catalogue has a vector"):
        WordTextEncoder(GloveText()).fit(iter(["qqzzqq", "🎵"]), tmp_path)
    with pytest.raises(StepFailed, match="encoder glove has not been fitted"):
        WordTextEncoder(GloveText()).load()


class Trap:
    """Leaves a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return (Path.touch, (self.path,))


def pickles(folder: Path, trap: Trap) -> Iterator[Path]:
    for name in ("vectors.pkl", "vectors.kv", "vectors.bin", "vectors.txt", "vectors.safetensors"):
        (folder / name).write_bytes(pickle.dumps(trap))
        yield folder / name
    for name in ("objects", "raw"):
        (folder / name).mkdir()
        pq.write_table(pa.table({"index": ["sea"]}), folder / name / "index.parquet")
        yield folder / name
    np.save(folder / "objects" / "v.npy", np.asarray([trap], dtype=object), allow_pickle=True)
    (folder / "raw" / "v.npy").write_bytes(pickle.dumps(trap))


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    for path in list(pickles(tmp_path, Trap(sprung))):
        encoder = WordTextEncoder(GloveText(weights=f"path:{path}", pooling="mean"))
        with pytest.raises(WeightsError, match=r"not word vectors \(text or binary word2vec") as refused:
            encoder.load()
        assert "\n" not in str(refused.value)
    assert not sprung.exists()
    pickle.loads(pickle.dumps(Trap(sprung)))
    assert sprung.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"3 2\nsea 1 2\n",
        b"2 2\nsea 1 2\nwave 1 x\n",
        b"sea 1 2 3\nwave 1 2\n",
        b"just some words\n",
        b"5 3\n" + b"sea " + struct.pack("<3f", 1, 2, 3),
        b"99999999999 300\nsea " + struct.pack("<3f", 1, 2, 3),
    ],
    ids=["empty", "short", "no number", "ragged", "prose", "short binary", "huge header"],
)
def test_a_broken_file_of_vectors_is_refused_in_one_sentence(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "vectors.txt"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"vectors\.txt: ") as refused:
        read_vectors(path)
    assert "\n" not in str(refused.value)


def test_words_and_vectors_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    folder = word_files(tmp_path)["folder"]
    np.save(folder / "vectors.npy", MATRIX[1:])
    with pytest.raises(WeightsError, match=r"9 words do not go with an array of float32 of shape \(8, 4\)"):
        read_vectors(folder)
    (folder / "index.parquet").unlink()
    with pytest.raises(WeightsError, match="holds no word vectors"):
        read_vectors(folder)


def test_a_wrong_sha256_is_refused_and_a_right_one_taken(tmp_path: Path) -> None:
    path = word_files(tmp_path)["text.txt"]
    right = {"weights": f"path:{path}", "sha256": sha256_of(path)}
    assert WordTextEncoder(GloveText.model_validate(right)).identity
    with pytest.raises(WeightsError, match=r"sha256 of text\.txt is .* expected 00"):
        WordTextEncoder(GloveText.model_validate(right | {"sha256": "00" * 32}))
    with pytest.raises(WeightsError, match=r"sha256 of glove_6B_50d_emb\.npy is .* expected 00"):
        WordTextEncoder(GloveText(sha256="00" * 32))


def test_a_changed_file_beside_the_vectors_or_a_setting_is_another_encoder(tmp_path: Path) -> None:
    folder = word_files(tmp_path)["folder"]
    settings = GloveText(weights=f"path:{folder}")
    before = WordTextEncoder(settings).identity
    shutil.copytree(folder, tmp_path / "moved")
    assert WordTextEncoder(GloveText(weights=f"path:{tmp_path / 'moved'}")).identity == before
    assert WordTextEncoder(settings.model_copy(update={"sif_a": 0.5})).identity != before
    pq.write_table(pa.table({"index": WORDS[::-1]}), folder / "index.parquet")
    assert WordTextEncoder(settings).identity != before


def test_weights_that_are_neither_package_nor_path_are_refused_by_the_configuration() -> None:
    for kind in (GloveText, Word2VecText):
        with pytest.raises(ValidationError, match="weights"):
            kind(weights="some/hub-name")


def test_what_was_fitted_is_described_in_json(tmp_path: Path) -> None:
    fitted(Word2VecTextEncoder(TRAINED), [*corpus(), "🎵"], tmp_path)
    described = json.loads((tmp_path / DOCUMENT).read_text())
    assert described["texts"] == 40
    assert described["words"] == sum(len(words(text)) for text in corpus())
