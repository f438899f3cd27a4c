"""What every audio encoder keeps to, whatever computes its vectors."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch

from pipeline.config import Config
from pipeline.encoders import Encoder, make
from pipeline.errors import MediaError
from tests.sounds import FAMILIES, RATE_HZ, cosine, embed, sound, wav, write_checkpoint


@pytest.fixture(scope="module", params=["mfcc", "logmel_cnn", *FAMILIES])
def config(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Config:
    audio = {"encoder": request.param}
    if request.param in FAMILIES:
        folder = write_checkpoint(request.param, tmp_path_factory.mktemp("audio"))
        audio = {"encoder": "transformers", "weights": f"path:{folder}", "seconds": 1}
    return Config.model_validate({"extract": {"audio": audio}})


@pytest.fixture(scope="module")
def encoder(config: Config) -> Encoder:
    encoder = make(config, "audio")
    encoder.load()
    return encoder


def test_a_vector_does_not_depend_on_its_batch(encoder: Encoder) -> None:
    inputs = [encoder.decode(wav(sound(0.1 + 0.05 * row, row))) for row in range(32)]
    together = encoder.embed(inputs)
    alone = np.concatenate([encoder.embed([one]) for one in inputs])
    unit = [vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (together, alone)]
    np.testing.assert_allclose(*unit, atol=1e-5)
    assert np.linalg.norm(unit[0][0] - unit[0][-1]) > 1e-3
    assert together.shape == (32, encoder.width)


def test_a_silent_clip_has_a_reason_and_a_very_short_one_a_vector(encoder: Encoder) -> None:
    with pytest.raises(MediaError, match="silent clip"):
        encoder.decode(wav(np.zeros(RATE_HZ, np.float32)))
    for samples in (np.full(1, 0.5, np.float32), np.full(40, 0.5, np.float32), sound(0.02)):
        assert np.isfinite(embed(encoder, wav(samples))).all()


@pytest.mark.parametrize(("rate_hz", "channels"), [(16_000, 1), (44_100, 2), (48_000, 6)])
def test_any_rate_and_number_of_channels_give_nearly_the_same_vector(
    encoder: Encoder, rate_hz: int, channels: int
) -> None:
    samples = sound(0.6, rate_hz=8_000)
    resampled = librosa.resample(samples, orig_sr=8_000, target_sr=rate_hz)
    many = np.repeat(resampled[:, None], channels, axis=1)
    assert cosine(*embed(encoder, wav(samples, 8_000), wav(many, rate_hz))) > 0.98


def test_the_same_clip_gives_the_same_bytes_whatever_chance_says(config: Config) -> None:
    clips = [wav(sound(2.3, seed)) for seed in range(3)]
    made = []
    for seed in (1, 2):
        np.random.seed(seed)
        torch.manual_seed(seed)
        encoder = make(config, "audio")
        encoder.load()
        made.append(embed(encoder, *clips).tobytes())
    assert made[0] == made[1]
