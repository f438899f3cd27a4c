from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel, Wav2Vec2Config, Wav2Vec2Model

from pipeline.config import Config
from pipeline.encoders import make
from pipeline.encoders.audio.kinds.transformers import TransformerAudioEncoder
from pipeline.encoders.base import Prepared
from pipeline.errors import ConfigError, WeightsError
from pipeline.media import open_audio
from tests.sounds import FAMILIES, FIXED_SECONDS, RAW, checkpoint, embed, sound, wav, write_checkpoint


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(family, tmp_path_factory.mktemp("audio"))


def encoder_of(folder: Path, **settings: object) -> TransformerAudioEncoder:
    audio = {"encoder": "transformers", "weights": f"path:{folder}", "seconds": 1, **settings}
    encoder = make(Config.model_validate({"extract": {"audio": audio}}), "audio")
    assert isinstance(encoder, TransformerAudioEncoder)
    return encoder


@pytest.fixture(scope="module")
def encoder(folder: Path) -> TransformerAudioEncoder:
    encoder = encoder_of(folder)
    encoder.load()
    return encoder


def direct(folder: Path, family: str, samples: np.ndarray) -> np.ndarray:
    """One window's vector by transformers alone: the joint vector, or the mean of the frames of the window's sound."""
    network = AutoModel.from_pretrained(folder).eval()
    extractor = checkpoint(family)[1]
    inputs = extractor(samples, sampling_rate=extractor.sampling_rate, return_tensors="pt")
    with torch.inference_mode():
        if family.startswith("clap"):
            return network.get_audio_features(**inputs).pooler_output[0].numpy()
        if family == "whisper":
            frames = network.encoder(**inputs).last_hidden_state[0]
            return frames[: -(-len(samples) // 320)].mean(0).numpy()
        hidden = network(input_values=inputs["input_values"]).last_hidden_state[0]
        if family == "ast":
            columns = (64 - 8) // 5 + 1
            own = [column for column in range(columns) if column * 5 < 1 + (len(samples) - 400) // 160]
            return hidden[2:].reshape(-1, columns, 16)[:, own].mean((0, 1)).numpy()
        return hidden.mean(0).numpy()


def resampled(encoder: TransformerAudioEncoder, samples: np.ndarray) -> np.ndarray:
    return open_audio(wav(samples), encoder.sample_rate_hz, 60)


def test_a_vector_is_that_of_transformers_itself(encoder: TransformerAudioEncoder, folder: Path, family: str) -> None:
    for seconds in (0.31, 0.6):
        samples = sound(seconds)
        theirs = direct(folder, family, resampled(encoder, samples))
        np.testing.assert_allclose(embed(encoder, wav(samples))[0], theirs, atol=1e-4)


def test_a_longer_clip_is_the_mean_of_windows_that_end_with_it(
    encoder: TransformerAudioEncoder, folder: Path, family: str
) -> None:
    samples = sound(2.3)
    heard = resampled(encoder, samples)
    window = round(FIXED_SECONDS.get(family, 1) * encoder.sample_rate_hz)
    starts = [*range(0, len(heard) - window, window), len(heard) - window]
    assert len(starts) > 2
    theirs = np.mean([direct(folder, family, heard[start : start + window]) for start in starts], axis=0)
    np.testing.assert_allclose(embed(encoder, wav(samples))[0], theirs, atol=1e-4)


def test_openvino_gives_the_vectors_of_torch(encoder: TransformerAudioEncoder, folder: Path) -> None:
    other = encoder_of(folder)
    other.prepared = Prepared(engine="openvino")
    other.load()
    clips = [wav(sound(0.2 + 0.15 * row, row)) for row in range(5)]
    np.testing.assert_allclose(embed(other, *clips), embed(encoder, *clips), atol=1e-3)


@pytest.mark.parametrize("pooling", ["max", "attention"])
def test_every_pooling_is_another_vector_and_another_key(
    encoder: TransformerAudioEncoder, folder: Path, pooling: str
) -> None:
    other = encoder_of(folder, pooling=pooling)
    other.load()
    clip = wav(sound(0.5))
    ours, default = embed(other, clip)[0], embed(encoder, clip)[0]
    assert other.key != encoder.key
    assert ours.shape != default.shape or not np.allclose(ours, default, atol=1e-3)


def test_only_what_decides_a_vector_enters_the_key(encoder: TransformerAudioEncoder, folder: Path) -> None:
    assert encoder_of(folder, batch_rows=3, max_error_rate=0.5, max_bytes=9).key == encoder.key
    assert encoder_of(folder, max_seconds=5).key != encoder.key


def test_text_and_audio_of_one_clap_share_a_space(tmp_path: Path) -> None:
    write_checkpoint("clap", tmp_path)
    text = {"encoder": "transformer", "weights": f"path:{tmp_path}", "pooling": "joint"}
    beside = make(Config.model_validate({"extract": {"text": text}}), "text")
    assert encoder_of(tmp_path).space == encoder_of(tmp_path, pooling="joint").space == beside.space != ""
    assert encoder_of(tmp_path, pooling="mean").space == ""


def test_a_joint_space_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    encoder = encoder_of(write_checkpoint("hubert", tmp_path), pooling="joint")
    with pytest.raises(ConfigError, match=r"extract\.audio\.pooling.*has no joint space; choose mean"):
        encoder.load()


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ("config.json", "it holds no config.json"),
        ("preprocessor_config.json", "no feature extractor of transformers there"),
        ("model.safetensors", "the folder holds none of"),
    ],
)
def test_a_folder_that_lacks_something_is_one_sentence(tmp_path: Path, lost: str, said: str) -> None:
    (write_checkpoint("wav2vec2", tmp_path) / lost).unlink()
    with pytest.raises(WeightsError, match=said) as caught:
        encoder_of(tmp_path).load()
    assert "\n" not in str(caught.value)


def test_a_pickle_is_not_read(tmp_path: Path) -> None:
    write_checkpoint("wav2vec2", tmp_path)
    torch.save(Wav2Vec2Model(Wav2Vec2Config(**RAW)).state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="not a transformers folder with safetensors"):
        encoder_of(tmp_path).load()
