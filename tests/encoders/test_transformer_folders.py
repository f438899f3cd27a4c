"""Folders of transformers models as they are found: in parts, with another head, damaged, or lacking a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, BertForMaskedLM, ByT5Tokenizer, PreTrainedTokenizerFast, T5EncoderModel

from pipeline.encoders import Text
from pipeline.errors import WeightsError
from tests import checkpoints
from tests.checkpoints import text_encoder, text_vectors

TEXTS = ["A quiet record about the sea.", "Loud", "one two three four"]


def test_a_checkpoint_with_another_head_or_of_the_encoder_alone_gives_the_same_text_vectors(tmp_path: Path) -> None:
    for family, other in (("bert", BertForMaskedLM), ("t5", T5EncoderModel)):
        folder = checkpoints.write(family, tmp_path / family)
        expected = text_vectors(text_encoder(folder), TEXTS)
        network = other.from_pretrained(folder)
        (folder / "model.safetensors").unlink()
        network.save_pretrained(folder)
        np.testing.assert_allclose(text_vectors(text_encoder(folder), TEXTS), expected, atol=1e-6)


def test_weights_of_another_network_or_a_damaged_file_are_one_sentence(tmp_path: Path) -> None:
    folder = checkpoints.write("bert", tmp_path)
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    tensors = load_file(file)
    save_file({f"other.{name}": tensor for name, tensor in tensors.items()}, file, {"format": "pt"})
    with pytest.raises(WeightsError, match=r"\d+ tensors of the network are not there, as \w+") as other:
        text_encoder(folder)
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="not a transformers folder with safetensors") as damaged:
        text_encoder(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(WeightsError, match="weights ") as unreadable:
        text_encoder(folder)
    assert all("\n" not in str(caught.value) for caught in (other, damaged, unreadable))


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json"])
def test_a_folder_that_lacks_a_file_is_one_sentence(tmp_path: Path, file: str) -> None:
    folder = checkpoints.write("bert", tmp_path)
    for path in folder.glob(f"{file.split('.')[0]}*"):
        path.unlink()
    with pytest.raises(WeightsError, match="weights ") as caught:
        text_encoder(folder)
    assert "\n" not in str(caught.value)


def test_weights_in_several_files_give_the_same_vectors_and_each_file_counts(tmp_path: Path) -> None:
    whole = checkpoints.write("bert", tmp_path / "whole")
    parts = checkpoints.write("bert", tmp_path / "parts")
    (parts / "model.safetensors").unlink()
    AutoModel.from_pretrained(whole).save_pretrained(parts, max_shard_size="10KB")
    files = sorted(parts.glob("*.safetensors"))
    assert len(files) > 1
    np.testing.assert_array_equal(text_vectors(text_encoder(parts), TEXTS), text_vectors(text_encoder(whole), TEXTS))
    before = text_encoder(parts).key
    # A leftover of another format is not what is loaded, so it is not what the key names.
    (parts / "pytorch_model.bin").write_bytes(b"old")
    network = AutoModel.from_pretrained(whole)
    torch.nn.init.normal_(network.encoder.layer[1].output.dense.weight)
    network.save_pretrained(parts, max_shard_size="10KB")
    assert text_encoder(parts).key != before


def test_a_tokenizer_written_in_python_works_too(tmp_path: Path) -> None:
    folder = checkpoints.write("t5", tmp_path)
    (folder / "tokenizer.json").unlink()
    ByT5Tokenizer(extra_ids=0).save_pretrained(folder)
    encoder = text_encoder(folder, max_tokens=10, long_texts="chunks")
    assert not isinstance(encoder.tokenizer, PreTrainedTokenizerFast)
    (short,) = encoder.decode(Text({"text": "abc"}))
    assert short.tolist() == encoder.tokenizer("abc")["input_ids"]
    parts = encoder.decode(Text({"text": "a" * 25}))
    assert [len(part) for part in parts] == [10, 10, 8]
    assert {int(part[-1]) for part in parts} == {encoder.tokenizer.eos_token_id}
    assert np.isfinite(text_vectors(encoder, ["abc", "a" * 25])).all()
