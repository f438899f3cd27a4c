from __future__ import annotations

import os
import re
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soxr

import pipeline.media
from pipeline.errors import MediaError
from pipeline.media import open_image, read_media
from tests import media_clip_cases, media_picture_cases
from tests.media_clip_cases import CLIP_FILES, sound
from tests.media_files import clip, photo, saved, tone
from tests.media_picture_cases import MAX_PIXELS, PICTURES, pixels

TABLE = [*media_picture_cases.CASES, *media_clip_cases.CASES]
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
        ("a\0b", "cannot be read"),
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
