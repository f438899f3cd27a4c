"""YAML as people write it: keys twice, bare words, byte order marks, and documents that grow without end."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import load
from pipeline.config.yaml_text import MAX_DEPTH, MAX_VALUES, parsed
from pipeline.errors import ConfigError
from pipeline.night import parse_time


def laughs(first: str, line: str) -> str:
    """Ten aliases of ten aliases, twenty times over."""
    lines = [line.format(f"&a{i}", ", ".join([f"*a{i - 1}"] * 10)) for i in range(1, 20)]
    return "\n".join([f"a0: &a0 {first}", *(f"a{i}: {text}" for i, text in enumerate(lines, 1))])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train: {model: elsa}\nname: a\ntrain: {}", "line 3: train stands twice, in line 1 before; keep one of them"),
        ("train:\n  model: elsa\n  model: als", r"line 3: train\.model stands twice, in line 2 before"),
        ("evaluate: {baselines: [{model: als, model: als}]}", r"line 1: evaluate\.baselines\.0\.model stands twice"),
        ("a: " + "[" * 5000, f"nested more than {MAX_DEPTH} deep"),
        ("a: " + "{a: " * 5000 + "}" * 5000, f"nested more than {MAX_DEPTH} deep"),
        ("a:\n" + "".join(" " * depth + "-\n" for depth in range(1, 2000)), f"nested more than {MAX_DEPTH} deep"),
        (f"a: &a {'[' * 60}{']' * 60}\nb: {'[' * 60}*a{']' * 60}", f"nested more than {MAX_DEPTH} deep"),
        (laughs("[x, x]", "{} [{}]"), f"a4 has more than {MAX_VALUES} values with its aliases"),
        (laughs("{x: 1}", "{} {{<<: [{}]}}"), f"more than {MAX_VALUES} values with its aliases"),
        ("a: &a [*a]", "line 1: an alias stands in what it means"),
        ("name: " + "9" * 6000, "not YAML"),
        ("name: 2024-13-13", r"not YAML \(month must be"),
        ("? [a]\n: b", "not YAML .*unhashable key"),
    ],
)
def test_what_cannot_be_meant_is_one_short_sentence(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "medley.yaml").write_text(text)
    with pytest.raises(ConfigError, match=f"medley.yaml: .*{said}") as caught:
        load(tmp_path / "medley.yaml")
    assert len(str(caught.value)) < 400 + len(str(tmp_path))
    assert "\n" not in str(caught.value)
    if "\n" not in text:
        with pytest.raises(ConfigError, match=f"-s train: .*{said.replace('line 3', 'line 1')}"):
            load(_empty(tmp_path), (f"train={{{text}}}",))


def _empty(folder: Path) -> Path:
    path = folder / "empty.yaml"
    path.touch()
    return path


def test_as_deep_and_as_many_as_may_be_are_read() -> None:
    assert parsed("[" * MAX_DEPTH + "]" * MAX_DEPTH, "a") is not None
    with pytest.raises(ConfigError, match="deep"):
        parsed("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "a")
    many = ", ".join(["x"] * (MAX_VALUES - 1))
    assert parsed(f"[{many}]", "a") == ["x"] * (MAX_VALUES - 1)
    with pytest.raises(ConfigError, match="the document has more than"):
        parsed(f"[{many}, x]", "a")


def test_an_alias_and_a_merge_stand_for_what_they_name() -> None:
    assert parsed("a: &a {b: 1, c: 2}\nd: *a\ne: {<<: *a, c: 3}", "a") == {
        "a": {"b": 1, "c": 2},
        "d": {"b": 1, "c": 2},
        "e": {"b": 1, "c": 3},
    }


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "medley.yaml").write_bytes("name: Märchen 歌".encode(encoding))
    assert load(tmp_path / "medley.yaml").name == "Märchen 歌"


@pytest.mark.parametrize("word", ["off", "no", "false", "'off'"])
def test_a_bare_word_is_the_word_where_a_setting_has_it(tmp_path: Path, word: str) -> None:
    path = tmp_path / "medley.yaml"
    path.write_text(f"evaluate: {{ablation: {word}}}\nrerank: {{enabled: {word}}}")
    config = load(path)
    assert (config.evaluate.ablation, config.rerank.enabled) == ("off", False)
    assert load(_empty(tmp_path), (f"evaluate.ablation={word}",)).evaluate.ablation == "off"


@pytest.mark.parametrize("word", ["none", "null", "~"])
def test_a_bare_none_is_the_word_where_a_setting_has_it(tmp_path: Path, word: str) -> None:
    settings = (f"extract.audio.normalise={word}", "extract.image=null")
    extract = load(_empty(tmp_path), settings).extract
    assert (extract.audio.normalise, extract.image) == ("none", None)  # type: ignore[union-attr]


def test_a_bare_word_that_a_setting_has_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"evaluate\.ablation: Input should be 'off'.*found True"):
        load(_empty(tmp_path), ("evaluate.ablation=on",))


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "2024-13-01", "tomorrow"])
def test_a_time_that_is_none_in_utc_is_one_sentence(text: str) -> None:
    with pytest.raises(ConfigError, match="write an ISO time"):
        parse_time(text)
