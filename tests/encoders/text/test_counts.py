from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer, TfidfVectorizer

from pipeline.config import Config
from pipeline.encoders import make
from pipeline.encoders.fitted import DOCUMENT, TENSORS, Sample
from pipeline.encoders.text.kinds.bow import CountText, CountTextEncoder
from pipeline.encoders.text.kinds.tfidf import TfidfText
from pipeline.encoders.text.segment import words
from pipeline.encoders.text.vocabulary import FittedTally, FittedVocabulary
from pipeline.errors import MediaError, ShardCorrupt, StepFailed
from tests.text_items import bytes_of, corpus, fitted, item, one_by_one, unit, vectors

SETTINGS = [
    CountText(width=6),
    CountText(width=6, ngrams=2),
    CountText(width=6, words=16),
    TfidfText(width=6),
    TfidfText(width=6, ngrams=2, words=12),
    TfidfText(width=6, vocabulary="hashed", words=512),
]
IDS = [f"{s.encoder} {s.vocabulary} {s.words} {s.ngrams}" for s in SETTINGS]


def grams(found: list[str], ngrams: int) -> list[str]:
    return found + [f"{a} {b}" for a, b in pairwise(found)] * (ngrams - 1)


@pytest.mark.parametrize("settings", SETTINGS[:2] + SETTINGS[3:4], ids=IDS[:2] + IDS[3:4])
def test_vectors_are_those_of_a_pipeline_of_scikit_learn(settings: CountText | TfidfText, tmp_path: Path) -> None:
    texts = corpus()
    vectorizer = TfidfVectorizer(
        analyzer=lambda text: grams(words(text), settings.ngrams),
        use_idf=settings.encoder == "tfidf",
        sublinear_tf=True,
    )
    expected = TruncatedSVD(settings.width, random_state=0).fit_transform(vectorizer.fit_transform(texts))
    ours = vectors(fitted(CountTextEncoder(settings), texts, tmp_path), texts)
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_hashed_vectors_are_those_of_scikit_learn_where_no_word_is_said_twice(tmp_path: Path) -> None:
    texts = [" ".join(dict.fromkeys(words(text))) for text in corpus()]
    hashed = HashingVectorizer(analyzer=words, n_features=64, alternate_sign=True, norm=None).transform(texts)
    hashed.eliminate_zeros()
    weighted = TfidfTransformer(norm="l2").fit_transform(hashed)
    expected = TruncatedSVD(5, random_state=0).fit_transform(weighted)
    settings = TfidfText(width=5, vocabulary="hashed", words=64)
    ours = vectors(fitted(CountTextEncoder(settings), texts, tmp_path), texts)
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_the_vocabulary_is_the_most_frequent_terms_of_the_catalogue(tmp_path: Path) -> None:
    texts = corpus()
    counted = Counter(word for text in texts for word in words(text))
    expected = sorted(counted, key=lambda word: (-counted[word], word))[:8]
    fitted(CountTextEncoder(CountText(width=4, words=8)), texts, tmp_path)
    assert json.loads((tmp_path / DOCUMENT).read_text())["terms"] == sorted(expected)


@pytest.mark.parametrize("settings", SETTINGS, ids=IDS)
def test_the_same_texts_give_the_same_bytes(settings: CountText | TfidfText, tmp_path: Path) -> None:
    for name in ("one", "other"):
        fitted(CountTextEncoder(settings), corpus(), tmp_path / name)
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "other")
    assert set(bytes_of(tmp_path / "one")) == {TENSORS, DOCUMENT}


@pytest.mark.parametrize("settings", SETTINGS, ids=IDS)
def test_a_vector_alone_is_the_vector_among_others(settings: CountText | TfidfText, tmp_path: Path) -> None:
    encoder = fitted(CountTextEncoder(settings), corpus(), tmp_path)
    np.testing.assert_allclose(vectors(encoder, corpus()[:32]), one_by_one(encoder, corpus()[:32]), atol=1e-5)


@pytest.mark.parametrize("settings", SETTINGS, ids=IDS)
def test_texts_of_one_topic_are_neighbours(settings: CountText | TfidfText, tmp_path: Path) -> None:
    texts = corpus()
    rows = unit(vectors(fitted(CountTextEncoder(settings), texts, tmp_path), texts))
    alike = rows @ rows.T
    np.fill_diagonal(alike, -2)
    nearest = alike.argsort(axis=1)[:, -5:]
    assert np.mean(nearest % 2 == np.arange(len(rows))[:, None] % 2) > 0.8


def test_chinese_and_english_words_are_both_counted(tmp_path: Path) -> None:
    texts = ["安静的大海", "夜晚的城市", "大海 and waves", "city at night", "a quiet sea"]
    encoder = fitted(CountTextEncoder(TfidfText()), texts, tmp_path)
    assert {"大海", "城市", "city", "quiet"} <= set(json.loads((tmp_path / DOCUMENT).read_text())["terms"])
    sea, calm, town = unit(vectors(encoder, ["大海", "安静的大海", "夜晚的城市"]))
    assert sea @ calm > sea @ town + 0.2


@pytest.mark.parametrize(("text", "reason"), [("  ", "no text"), ("zebra", "no known word"), ("🎵", "no known word")])
def test_a_text_without_known_words_is_missing_with_its_reason(text: str, reason: str, tmp_path: Path) -> None:
    encoder = fitted(CountTextEncoder(CountText()), corpus(), tmp_path)
    with pytest.raises(MediaError, match=f"^{reason}$"):
        encoder.decode(item(text))


def test_a_text_that_shares_no_word_with_what_was_kept_is_missing(tmp_path: Path) -> None:
    texts = [*["sea wave salt"] * 9, *["city neon crowd"] * 9, "zebra"]
    encoder = fitted(CountTextEncoder(CountText(width=2)), texts, tmp_path)
    with pytest.raises(MediaError, match="no word shared with other texts"):
        encoder.decode(item("zebra"))


@pytest.mark.parametrize(("texts", "width"), [(["A sea"], 1), (["A sea", "A city"], 2), (["A sea", "a SEA"], 1)])
def test_a_tiny_catalogue_gives_fewer_dimensions(texts: list[str], width: int, tmp_path: Path) -> None:
    encoder = fitted(CountTextEncoder(TfidfText()), texts, tmp_path)
    rows = vectors(encoder, texts)
    assert rows.shape == (len(texts), width)
    assert encoder.width == width
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("vocabulary", ["fitted", "hashed"])
def test_a_catalogue_without_words_is_refused(vocabulary: str, tmp_path: Path) -> None:
    encoder = CountTextEncoder(CountText.model_validate({"vocabulary": vocabulary}))
    with pytest.raises(StepFailed, match="bow: no text of the catalogue has a word"):
        encoder.fit(iter(["🎵", "..."]), tmp_path)


def test_an_encoder_that_was_not_fitted_or_whose_files_are_broken_says_so(tmp_path: Path) -> None:
    encoder = CountTextEncoder(CountText())
    with pytest.raises(StepFailed, match="encoder bow has not been fitted"):
        encoder.load()
    fitted(encoder, corpus(), tmp_path)
    (tmp_path / TENSORS).write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(ShardCorrupt, match="fitted for encoder bow cannot be read"):
        encoder.load()


def test_every_setting_that_decides_a_vector_is_in_the_identity() -> None:
    identities = {CountTextEncoder(settings).identity for settings in SETTINGS}
    assert len(identities) == len(SETTINGS)
    assert CountTextEncoder(CountText(max_error_rate=0.5)).identity == CountTextEncoder(CountText()).identity


@pytest.mark.parametrize("kind", ["bow", "tfidf"])
def test_the_configuration_names_it(kind: str) -> None:
    encoder = make(Config.model_validate({"extract": {"text": {"encoder": kind, "width": 8}}}), "text")
    assert isinstance(encoder, CountTextEncoder)
    assert kind in encoder.model


def test_counting_is_bounded_and_keeps_what_is_frequent() -> None:
    tally = FittedTally(size=5, limit=20)
    for row in range(500):
        tally.add(Counter({f"once{row}": 1, f"often{row % 5}": 2}))
        assert len(tally.counts) <= 21
    vocabulary, texts_with = tally.close()
    assert isinstance(vocabulary, FittedVocabulary)
    assert vocabulary.listed == [f"often{n}" for n in range(5)]
    assert texts_with.tolist() == [100] * 5


def test_a_sample_is_bounded_uniform_and_repeats() -> None:
    def drawn(rows: int, characters: int) -> list[int]:
        sample = Sample(rows, characters)
        for number in range(2_000):
            sample.add(f"{number:05d}")
            assert len(sample) <= min(rows, characters // 5)
        return [int(text) for text in sample]

    by_rows, by_characters = drawn(200, 10**9), drawn(10**9, 1000)
    assert by_rows == by_characters == sorted(by_rows) == drawn(200, 10**9)
    assert len(by_rows) == 200
    # The mean of 200 of 2,000 numbers has a standard deviation of 39.
    assert abs(np.mean(by_rows) - 999.5) < 160
    assert list(Sample(5, 1)) == []
