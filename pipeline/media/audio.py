"""Clips to mono samples: libsndfile for the formats it knows, PyAV where it is installed for M4A and its like."""

from __future__ import annotations

import io
import os

import numpy as np
import soundfile

from pipeline.errors import MediaError
from pipeline.media import ffmpeg as containers
from pipeline.media.first_bytes import heif_format, kind_of
from pipeline.media.mono import Mono
from pipeline.media.mp3_frames import counted
from pipeline.media.mpeg import counts_frames, from_first_frame, is_frame
from pipeline.media.quoting import quoted
from pipeline.media.wav_header import promised_frames, with_sizes

# Samples of all channels in one block: 4 MB.
BLOCK_SAMPLES = 1 << 20
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
    try:
        mono = _decoded(counted(from_first_frame(with_sizes(data))), Mono(sample_rate_hz, max_seconds))
        return mono.finish()
    except MediaError:
        raise
    except Exception as error:  # both libraries raise their own errors and, on damaged bytes, a few of Python's
        raise MediaError(f"not a readable clip ({_reason(error)})") from None


def _decoded(data: bytes, mono: Mono) -> Mono:
    demuxer = None if heif_format(data) else containers.demuxer(data)
    if demuxer is not None:
        containers.decode(data, demuxer, mono)
    elif data.startswith(_SNDFILE_MAGIC) or is_frame(data):
        _decode(data, mono)
    else:
        raise MediaError(f"not a readable clip ({kind_of(data)})")
    return _decoded(data, mono.of_one_channel()) if mono.cancels() else mono


def _decode(data: bytes, mono: Mono) -> None:
    with soundfile.SoundFile(_Bytes(data)) as file:
        mono.start(file.samplerate, file.channels, max(file.frames, _promised_frames(data, file)))
        size = max(1, BLOCK_SAMPLES // file.channels)
        while mono.frames < mono.wanted:
            block = file.read(min(size, mono.wanted - mono.frames), dtype="float32", always_2d=True)
            if len(block):
                mono.add(block)
            elif _is_whole(data, file, mono):
                break
            else:  # the header says more than there is
                raise MediaError(f"truncated clip: {mono.frames} of {mono.wanted} samples")


def _is_whole(data: bytes, file: soundfile.SoundFile, mono: Mono) -> bool:
    """Whether a clip that ends early may be all: of an MP3 that does not count its frames, the length is a guess."""
    missing = (mono.wanted - mono.frames) / mono.rate_hz
    return file.format == "MP3" and (not counts_frames(data) or missing <= containers.TOLERATED_SECONDS)


def _promised_frames(data: bytes, file: soundfile.SoundFile) -> int:
    """Frames that a WAV promises, 0 if those are there: libsndfile would say nothing, and others count their header."""
    promised = promised_frames(data) if file.subtype.startswith(("PCM", "FLOAT", "DOUBLE")) else 0
    return promised if promised > file.frames + containers.TOLERATED_SECONDS * file.samplerate else 0


def _reason(error: Exception) -> str:
    # The whole text of soundfile's and PyAV's errors names the object that the bytes were read from.
    text = " ".join(str(getattr(error, "error_string", "") or getattr(error, "strerror", "") or error).split())
    return quoted(text.strip(" :.") or type(error).__name__)
