"""Damaged, cut, spliced and misnamed files, thousands for each decoder, in a child process of their own.

Each must end as data or as a MediaError. A crash of a C library is seen by the child's exit status, a hang by its
watchdog, a blow-up by its peak memory; the case's number and its bytes, saved, reproduce what went wrong:
`python -m tests.media.test_media_fuzz DECODER FOLDER FIRST LAST` runs some cases again.
"""

from __future__ import annotations

import faulthandler
import itertools
import os
import re
import resource
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import MediaError
from pipeline.media import open_audio, open_image
from tests.media_files import clips, containers, heics, pictures

ROOT = Path(__file__).parents[2]
CASES = 4_000
HANG_SECONDS = 10
# Above what the child holds once it has decoded every whole file; 1,000,000 pixels take 16 MB, a clip's second 0.2 MB.
GROWTH_BYTES = 192_000_000
INTERESTING = (0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
# So much of a container stays as it is, or no decoder of containers would be asked.
MAGIC_BYTES = 16
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))

Mutation = Callable[[np.random.Generator, bytearray, bytes], bytearray]


def open_picture(data: bytes) -> object:
    return open_image(data, 1_000_000, draft=(64, 64) if len(data) % 2 else None)


def avifs() -> dict[str, bytes]:
    return {name: data for name, data in pictures().items() if name.startswith("avif")}


def open_sound(data: bytes) -> object:
    return open_audio(data, 22_050, 5)


DECODERS: dict[str, Callable[[bytes], object]] = {
    "picture": open_picture,
    "boxes": open_picture,
    "heic": open_picture,
    "sound": open_sound,
    "container": open_sound,
}
SEEDS = {"picture": pictures, "boxes": avifs, "heic": heics, "sound": clips, "container": containers}
PACKAGES = {"heic": "pillow_heif", "container": "av"}


def _flip_bits(random: np.random.Generator, data: bytearray, other: bytes) -> bytearray:
    for place in random.integers(len(data), size=random.integers(1, 9)):
        data[place] ^= 1 << int(random.integers(8))
    return data


def _overwrite(random: np.random.Generator, data: bytearray, other: bytes) -> bytearray:
    for _ in range(random.integers(1, 4)):
        # Headers are small and say most.
        place = int(random.integers(min(len(data), 128) if random.random() < 0.6 else len(data)))
        value, width = int(random.choice(INTERESTING)), int(random.choice([1, 2, 4, 8]))
        order = "little" if random.random() < 0.5 else "big"
        data[place : place + width] = (value & (1 << 8 * width) - 1).to_bytes(width, order)
    return data


def _cut(random: np.random.Generator, data: bytearray, other: bytes) -> bytearray:
    return data[: random.integers(len(data))]


def _repeat(random: np.random.Generator, data: bytearray, other: bytes) -> bytearray:
    start, end = sorted(random.integers(len(data), size=2))
    return data[:end] + data[start:end] * int(random.integers(1, 4)) + data[end:]


def _remove(random: np.random.Generator, data: bytearray, other: bytes) -> bytearray:
    start = int(random.integers(len(data)))
    return data[:start] + data[start + int(random.integers(1, 64)) :]


def _splice(random: np.random.Generator, data: bytearray, other: bytes) -> bytearray:
    return data[: random.integers(len(data))] + other[random.integers(len(other)) :]


def _insert(random: np.random.Generator, data: bytearray, other: bytes) -> bytearray:
    place = int(random.integers(len(data)))
    return data[:place] + bytearray(random.bytes(int(random.integers(1, 200)))) + data[place:]


def _misname(random: np.random.Generator, data: bytearray, other: bytes) -> bytearray:
    length = int(random.choice([2, 4, 12]))
    return bytearray(other[:length]) + data[length:]


def _noise(random: np.random.Generator, data: bytearray, other: bytes) -> bytearray:
    return data[: random.integers(len(data))][:64] + bytearray(random.bytes(int(random.integers(1, 400))))


MUTATIONS: tuple[Mutation, ...] = (
    _flip_bits,
    _overwrite,
    _overwrite,
    _cut,
    _repeat,
    _remove,
    _splice,
    _insert,
    _misname,
    _noise,
)


def damaged(decoder: str, seeds: list[bytes], number: int) -> bytes:
    """Case `number` of a decoder: one whole file, changed one to three times, the same for the same seeds."""
    random = np.random.default_rng((number, len(decoder)))
    whole = seeds[number % len(seeds)]
    data = bytearray(whole)
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        other = seeds[int(random.integers(len(seeds)))]
        data = MUTATIONS[int(random.integers(len(MUTATIONS)))](random, data or bytearray(1), other)
    if decoder in ("container", "boxes", "heic"):
        data[:MAGIC_BYTES] = whole[:MAGIC_BYTES]
    return bytes(_repaired(data) if random.random() < 0.5 else data)


def _repaired(data: bytearray) -> bytearray:
    """Puts right the checksums of a PNG's chunks and an Ogg's pages, so that damage gets past them."""
    if data.startswith(b"\x89PNG"):
        place = 8
        while place + 12 <= len(data):
            end = place + 8 + int.from_bytes(data[place : place + 4], "big")
            if end + 4 <= len(data):
                data[end : end + 4] = zlib.crc32(data[place + 4 : end]).to_bytes(4, "big")
            place = end + 4
    pages = [page.start() for page in re.finditer(b"OggS", data)] if data.startswith(b"OggS") else []
    for start, end in itertools.pairwise([*pages, len(data)]):
        if end - start > 27:
            data[start + 22 : start + 26] = bytes(4)
            data[start + 22 : start + 26] = _ogg_checksum(data[start:end]).to_bytes(4, "little")
    return data


def _ogg_checksum(page: bytearray) -> int:
    # CRC-32 by the same polynomial as zlib's, but most significant bit first, and neither end inverted.
    backwards = zlib.crc32(bytes(_MIRRORED[byte] for byte in page), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{backwards:032b}"[::-1], 2)


def peak_bytes() -> int:
    """Most memory that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def attack(decoder: str, folder: Path, first: int, last: int) -> None:
    """Decodes cases `first` to `last`; `folder` gets the number of the one at work, and how many ended as data."""
    decode = DECODERS[decoder]
    seeds = [path.read_bytes() for path in sorted(folder.glob("seed-*"))]
    for data in seeds:
        decode(data)
    start, opened = peak_bytes(), 0
    for number in range(first, last):
        (folder / "at").write_text(str(number))
        data = damaged(decoder, seeds, number)
        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)
        try:
            decode(data)
            opened += 1
        except MediaError as error:
            lines = str(error).splitlines()
            if len(lines) != 1:
                raise ValueError(f"a reason of {len(lines)} lines: {error}") from error
        faulthandler.cancel_dump_traceback_later()
        assert peak_bytes() - start < GROWTH_BYTES, f"{(peak_bytes() - start) / 1e6:.0f} MB more than whole files take"
    (folder / "opened").write_text(str(opened))


@pytest.mark.parametrize("decoder", list(DECODERS))
def test_thousands_of_damaged_files_end_as_data_or_as_a_reason(decoder: str, tmp_path: Path) -> None:
    if decoder in PACKAGES:
        pytest.importorskip(PACKAGES[decoder])
    for number, data in enumerate(SEEDS[decoder]().values()):
        (tmp_path / f"seed-{number:03d}").write_bytes(data)
    child = subprocess.run(
        [sys.executable, "-m", "tests.media.test_media_fuzz", decoder, str(tmp_path), "0", str(CASES)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=600,
    )
    if child.returncode:
        assert (tmp_path / "at").is_file(), child.stderr[-3000:]
        number = int((tmp_path / "at").read_text())
        seeds = [path.read_bytes() for path in sorted(tmp_path.glob("seed-*"))]
        (tmp_path / "case").write_bytes(damaged(decoder, seeds, number))
        pytest.fail(f"{decoder} case {number}, {tmp_path / 'case'}: status {child.returncode}\n{child.stderr[-3000:]}")
    # An error within a callback of libsndfile would be printed and forgotten.
    assert "Traceback" not in child.stderr
    # Mutations that nothing survives would not reach the decoders.
    assert CASES // 20 < int((tmp_path / "opened").read_text()) < CASES


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_clip_that_seeks_before_its_start_is_refused_in_silence() -> None:
    header = b"FORM\0\0%\xaeAIFFCOMM\0\0\0\x12\0\x02\0\0\t`\0\x10@\x0b\xfa\0\0\0\0\0\0\0SSN"
    with pytest.raises(MediaError, match="not a readable clip"):
        open_sound(header)


if __name__ == "__main__":
    attack(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
