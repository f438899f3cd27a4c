from __future__ import annotations

from pathlib import Path

import librosa
import numpy as np
import pytest
import torch
from PIL import Image

from pipeline.config import Config
from pipeline.encoders import make
from pipeline.encoders.audio.kinds.logmel_cnn import LogmelAudio, LogmelEncoder
from pipeline.encoders.image.backbones import build_backbone, statistics_of
from pipeline.encoders.weights import locate
from pipeline.errors import WeightsError
from tests.sounds import cosine, embed, sound, wav


def encoder_of(**settings: object) -> LogmelEncoder:
    encoder = make(Config.model_validate({"extract": {"audio": {"encoder": "logmel_cnn", **settings}}}), "audio")
    assert isinstance(encoder, LogmelEncoder)
    return encoder


@pytest.fixture(scope="module")
def encoder() -> LogmelEncoder:
    encoder = encoder_of()
    encoder.load()
    return encoder


def direct(samples: np.ndarray) -> np.ndarray:
    """The vector of a picture of three seconds, by librosa, Pillow and timm."""
    power = librosa.feature.melspectrogram(y=samples, sr=22_050, n_mels=128)
    level = librosa.power_to_db(power, ref=np.max) / 80 + 1
    level = np.pad(level, ((0, 0), (0, 129 - level.shape[1]))).astype(np.float32)
    picture = np.asarray(Image.fromarray(level).resize((224, 224), Image.Resampling.BILINEAR))
    shape = statistics_of("timm", "tf_efficientnet_lite0")
    pixels = (picture[None] - np.array(shape.mean)[:, None, None]) / np.array(shape.std)[:, None, None]
    network = build_backbone("timm", "tf_efficientnet_lite0", locate(LogmelAudio().weights))
    with torch.inference_mode():
        return network(torch.from_numpy(pixels.astype(np.float32))[None])[0].numpy()


def test_a_vector_is_that_of_the_spectrogram_of_librosa_through_the_network(encoder: LogmelEncoder) -> None:
    for seconds in (0.7, 2.9):
        ours = embed(encoder, wav(sound(seconds, rate_hz=22_050), 22_050))[0]
        assert ours.shape == (1280,)
        assert cosine(ours, direct(sound(seconds, rate_hz=22_050))) > 0.999


def test_a_longer_clip_is_the_mean_of_pictures_that_end_with_it(encoder: LogmelEncoder) -> None:
    clip = wav(sound(7.5))
    pictures = encoder.decode(clip)
    assert [picture.shape for picture in pictures] == [(224, 224)] * 3
    assert min(picture[:, -1].mean() for picture in pictures) > 10
    alone = np.concatenate([encoder.embed([[picture]]) for picture in pictures])
    np.testing.assert_allclose(embed(encoder, clip)[0], alone.mean(0), atol=1e-4)


def test_a_clip_shorter_than_a_picture_leaves_the_rest_black(encoder: LogmelEncoder) -> None:
    (picture,) = encoder.decode(wav(sound(1)))
    assert picture[:, 120:].max() == 0
    assert picture[:, :70].mean() > 10


def test_a_network_that_takes_one_size_alone_and_another_library_work(tmp_path: Path) -> None:
    for library, model in (("timm", "vit_tiny_patch16_224"), ("torchvision", "mobilenet_v3_small")):
        torch.manual_seed(0)
        file = tmp_path / f"{library}.pth"
        torch.save(_network(library, model).state_dict(), file)
        encoder = encoder_of(library=library, model=model, weights=f"path:{file}", seconds=0.5)
        encoder.load()
        vectors = embed(encoder, wav(sound(1.2)), wav(sound(0.3, 1)))
        assert vectors.shape == (2, encoder.width)
        assert np.isfinite(vectors).all()


def test_weights_of_another_network_are_one_sentence(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="do not fit") as caught:
        encoder_of(weights=f"path:{tmp_path / 'w.pth'}").load()
    assert "\n" not in str(caught.value)


def test_the_key_follows_what_changes_the_vector_and_nothing_else(encoder: LogmelEncoder) -> None:
    assert encoder_of(max_error_rate=0.9, max_bytes=1, batch_rows=2).key == encoder.key
    assert encoder_of(seconds=2).key != encoder.key


def _network(library: str, model: str) -> torch.nn.Module:
    if library == "timm":
        import timm

        return timm.create_model(model)
    from torchvision.models import get_model

    return get_model(model, weights=None)
