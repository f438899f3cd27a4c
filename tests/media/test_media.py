from __future__ import annotations

import os
import re
import tracemalloc
import urllib.parse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soxr

import pipeline.media
from pipeline.errors import MediaError
from pipeline.media import open_image, read_media
from tests import media_bomb_cases, media_clip_cases, media_picture_cases
from tests.media_clip_cases import CLIP_FILES, sound
from tests.media_files import clip, photo, saved, tone
from tests.media_picture_cases import MAX_PIXELS, PICTURES, pixels

TABLE = [*media_picture_cases.CASES, *media_bomb_cases.CASES, *media_clip_cases.CASES]
LINES = [line for line in (pipeline.media.__doc__ or "").splitlines() if re.match(r"\| (?!file)", line)]


@pytest.mark.parametrize(("line", "check"), list(zip(LINES, TABLE, strict=True)), ids=[case.__name__ for case in TABLE])
def test_each_line_of_the_table_holds(
    line: str, check: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixtures = {"tmp_path": tmp_path, "monkeypatch": monkeypatch}
    check(**{name: fixtures[name] for name in check.__code__.co_varnames[: check.__code__.co_argcount]})


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("../secret", "path leaves the media root"),
        ("/etc/hostname", "path leaves the media root"),
        ("link", "path leaves the media root"),
        ("none.jpg", "file not found"),
        (".", "not a regular file"),
        ("pipe", "not a regular file"),
        ("big", "10 bytes, over the limit of 9"),
        ("a\0b", r"cannot be read .*: a\\x00b$"),
        ("%2e%2e/secret", "file not found"),
        ("..\\secret", "file not found"),
        ("none\n\x1b[2J.jpg", r"file not found: none\\n\\x1b\[2J.jpg$"),
        ("x" * 120, f"file not found: {'x' * 120}$"),
        ("x" * 121, f"file not found: {'x' * 119}…$"),
        ("https://cdn.example.com/7.jpg", "an address is not fetched.*: https://cdn.example.com/7.jpg$"),
        (" S3://bucket/7.jpg", "an address is not fetched, give the path of a file below the media root"),
        ("data:image/png;base64," + "A" * 9_999, f"an address is not fetched.*: data:image/png;base64,{'A' * 97}…$"),
    ],
)
def test_a_path_stays_below_its_root_and_a_size_below_its_limit(tmp_path: Path, path: str, reason: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "secret").write_text("secret")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "big").write_bytes(b"0123456789")
    os.mkfifo(root / "pipe")
    with pytest.raises(MediaError, match=reason):
        read_media(root, path, 9)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a b.jpg", "a%20b.jpg"),
        ("a.jpg", " a.jpg\n"),
        ("photos/a.jpg", "photos\\a.jpg"),
        ("café.jpg", "cafe\u0301.jpg"),
        ("cafe\u0301.jpg", "café.jpg"),
        ("photos/cafe\u0301 1.jpg", " photos%5Ccaf%C3%A9%201.jpg "),
        ("猫" * 60, urllib.parse.quote("猫" * 60)),
    ],
)
def test_a_file_is_found_by_how_other_programs_write_its_name(tmp_path: Path, name: str, path: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"other")
    assert read_media(tmp_path, path, 9) == b"other"


def test_the_literal_name_of_a_file_comes_first(tmp_path: Path) -> None:
    for name in ("a b", "a%20b"):
        (tmp_path / name).write_text(name)
    assert read_media(tmp_path, "a%20b", 9) == b"a%20b"


def test_a_draft_decodes_a_jpeg_at_the_smallest_scale_above_it() -> None:
    data = saved(photo(900, 700), "JPEG")
    assert open_image(data, MAX_PIXELS, draft=(224, 224)).size == (450, 350)
    assert open_image(PICTURES["png large"], MAX_PIXELS, draft=(100, 100)).size == (700, 500)


def test_blocks_are_resampled_as_the_whole_clip_would_be() -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (700_000, 2)).astype(np.float32)
    for rate_hz in (44_100, 32_728, 8_000):
        whole = soxr.resample(samples.mean(axis=1, dtype=np.float32), rate_hz, 22_050)
        assert np.abs(sound(clip("WAV", "FLOAT", samples, rate_hz), 22_050, 600) - whole).max() < 1e-6


def test_memory_of_a_clip_is_its_result_and_one_block() -> None:
    data = clip("WAV", samples=tone(0.4, 768_000, 64), rate_hz=768_000)
    tracemalloc.start()
    try:
        sound(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # As float32, all at once, it would be 79 MB.
    assert peak < 16e6


def test_threads_decode_as_one_does() -> None:
    files = [*PICTURES.values()] * 3
    alone = [pixels(data) for data in files]
    quiet = [sound(data) for data in CLIP_FILES.values()]
    with ThreadPoolExecutor(4) as pool:
        crowd = pool.map(pixels, files)
        noise = pool.map(sound, CLIP_FILES.values())
        assert all(np.array_equal(one, other) for one, other in zip(alone, crowd, strict=True))
        assert all(np.array_equal(one, other) for one, other in zip(quiet, noise, strict=True))
