from __future__ import annotations

import marshal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jieba
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.encoders.text.segment import MAX_RUN_CHARACTERS, normal, words
from tests.conftest import python


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A Quiet  record, about the SEA!", ["a", "quiet", "record", "about", "the", "sea"]),
        ("这是一张安静的唱片，关于大海。", ["这是", "一张", "安静", "的", "唱片", "关于", "大海"]),
        ("听Radiohead的OK Computer专辑", ["听", "radiohead", "的", "ok", "computer", "专辑"]),
        ("東京タワーは高い", ["東京", "京タ", "タワ", "ワー", "ーは", "は高", "高い"]),
        ("鲜の每日 人民", ["鲜", "の", "每日", "人民"]),
        ("조용한 음악과 바다", ["조용한", "음악과", "바다"]),
        ("हिन्दी में गीत", ["हिन्दी", "में", "गीत"]),
        ("Don't stop l'amore: the band's O’Brien", ["don", "stop", "amore", "the", "band", "brien"]),
        ("ＡＢＣ ﬁne Straße snake_case", ["abc", "fine", "strasse", "snake", "case"]),
        ("🎵 – !", []),
        ("", []),
    ],
)
def test_words_of_every_script_are_as_documented(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_chinese_words_are_those_of_jieba_itself(tmp_path: Path) -> None:
    tokenizer = jieba.Tokenizer()
    tokenizer.tmp_dir = str(tmp_path)
    text = "我来到北京清华大学听一场关于大海的音乐会小明硕士毕业于中国科学院计算所"
    assert words(text) == tokenizer.lcut(text)


@given(st.text())
def test_any_text_has_words_without_space_and_case(text: str) -> None:
    found = words(text)
    assert all(word and not any(character.isspace() for character in word) for word in found)
    assert all(normal(word) == word for word in found)
    assert "\n".join(found).encode().decode().split() == found


def test_a_cache_that_someone_left_in_the_shared_temporary_folder_is_not_loaded(tmp_path: Path) -> None:
    foreign = ({"大海": 0, "大": 1, "海": 1}, 2)
    planted = tmp_path / "jieba.cache"
    planted.write_bytes(marshal.dumps(foreign))
    before = planted.read_bytes()
    code = "from pipeline.encoders.text.segment import words; print(*words('安静的大海'))"
    done = python(code, env={"TMPDIR": str(tmp_path), "PYTHONIOENCODING": "utf-8"})
    assert done.stdout.split() == ["安静", "的", "大海"]
    assert done.stderr == ""
    assert [path.name for path in tmp_path.iterdir()] == ["jieba.cache"]
    assert planted.read_bytes() == before


def test_threads_that_meet_at_the_first_text_all_get_its_words() -> None:
    code = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from pipeline.encoders.text.segment import words\n"
        "with ThreadPoolExecutor(8) as pool:\n"
        "    print({tuple(found) for found in pool.map(words, ['安静的大海'] * 64)})\n"
    )
    assert python(code).stdout.strip() == "{('安静', '的', '大海')}"


def test_a_long_run_without_signs_is_cut_in_bounded_pieces() -> None:
    run = "齉龘" * 2000
    pieces = [run[start : start + MAX_RUN_CHARACTERS] for start in range(0, len(run), MAX_RUN_CHARACTERS)]
    assert words(run) == [word for piece in pieces for word in words(piece)]


def test_threads_agree_on_texts_of_several_scripts() -> None:
    texts = ["安静的大海 and the sea", "東京タワーは高い", "조용한 음악"] * 20
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(words, texts)) == [words(text) for text in texts]
