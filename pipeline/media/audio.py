"""Clips to mono samples: libsndfile for the formats it knows, PyAV where it is installed for M4A and its like."""

from __future__ import annotations

import io
import os
import struct

import numpy as np
import soundfile

from pipeline.errors import MediaError
from pipeline.media import ffmpeg as containers
from pipeline.media.mono import Mono

# Samples of all channels in one block: 4 MB.
BLOCK_SAMPLES = 1 << 20
# A WAV's data of so many bytes or more have a length that nobody knew when the header was written.
UNKNOWN_BYTES = 0x7FFF0000
# Before its data.
MAX_WAV_CHUNKS = 1_000
# libsndfile would try twenty formats of the 1990s, whose readers nobody tests: only what a catalogue holds is opened.
_SNDFILE_MAGIC = (b"RIFF", b"RIFX", b"RF64", b"riff", b"fLaC", b"OggS", b"FORM", b".snd", b"dns.", b"caff", b"ID3")


class _Bytes(io.BytesIO):
    """A file in memory for libsndfile, which may seek before its start: an error there would be printed."""

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Moves to a place; stays where it is if there is no such place."""
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            return self.tell()


def open_audio(data: bytes, sample_rate_hz: int, max_seconds: float) -> np.ndarray:
    """Decodes a clip to mono at `sample_rate_hz`: shape (samples,), float32, full scale 1, cut at `max_seconds`.

    Resampled by soxr at its high quality. Memory holds the result and one block. Raises MediaError if the bytes are no
    clip of a known format, are truncated, hold no sample, or would be too much to decode, as the package's table says.
    """
    mono = Mono(sample_rate_hz, max_seconds)
    demuxer = containers.demuxer(data)
    try:
        if demuxer is not None:
            containers.decode(data, demuxer, mono)
        elif data.startswith(_SNDFILE_MAGIC) or _is_mpeg(data):
            _decode(data, mono)
        else:
            raise MediaError("not a readable clip (its first bytes are of no known format)")
        return mono.finish()
    except MediaError:
        raise
    except Exception as error:  # both libraries raise their own errors and, on damaged bytes, a few of Python's
        raise MediaError(f"not a readable clip ({_reason(error)})") from None


def _decode(data: bytes, mono: Mono) -> None:
    with soundfile.SoundFile(_Bytes(data)) as file:
        mono.start(file.samplerate, file.channels, max(file.frames, _promised_frames(data, file)))
        size = max(1, BLOCK_SAMPLES // file.channels)
        while mono.frames < mono.wanted:
            block = file.read(min(size, mono.wanted - mono.frames), dtype="float32", always_2d=True)
            if not len(block):  # the header says more than there is
                raise MediaError(f"truncated clip: {mono.frames} of {mono.wanted} samples")
            mono.add(block)


def _promised_frames(data: bytes, file: soundfile.SoundFile) -> int:
    """Frames that a WAV's header promises, 0 if it is no WAV or promises what there is: libsndfile would say nothing.

    A writer that cannot go back leaves a size of 0 or of all ones, others count their header: neither is a truncation.
    """
    if not data.startswith(b"RIFF") or not file.subtype.startswith(("PCM", "FLOAT", "DOUBLE")):
        return 0
    position, frame_bytes = 12, 0
    for _ in range(MAX_WAV_CHUNKS):
        if position + 8 > len(data):
            break
        kind, size = struct.unpack_from("<4sI", data, position)
        if kind == b"fmt " and size >= 14 and position + 22 <= len(data):
            (frame_bytes,) = struct.unpack_from("<H", data, position + 20)
        if kind == b"data":
            promised = size // frame_bytes if frame_bytes and size < UNKNOWN_BYTES else 0
            return promised if promised > file.frames + containers.TOLERATED_SECONDS * file.samplerate else 0
        position += 8 + size + size % 2
    return 0


def _is_mpeg(data: bytes) -> bool:
    """Whether a frame of MPEG layer I to III starts the data: eleven bits set, then a layer that is not reserved."""
    return len(data) > 1 and data[0] == 0xFF and data[1] >= 0xE0 and bool(data[1] & 0x06)


def _reason(error: Exception) -> str:
    # The whole text of soundfile's and PyAV's errors names the object that the bytes were read from.
    text = " ".join(str(getattr(error, "error_string", "") or getattr(error, "strerror", "") or error).split())
    return (text.strip(" :.") or type(error).__name__)[:120]
