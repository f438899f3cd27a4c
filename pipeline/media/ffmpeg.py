"""Clips in containers that libsndfile does not know, by PyAV, an optional package over FFmpeg."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import MachineError, MediaError
from pipeline.media.mono import Mono
from pipeline.media.mpeg import is_adts, tag_bytes

if TYPE_CHECKING:
    import av

# FFmpeg's demuxer is named by us and never guessed: a guess could be a playlist, which opens other files and addresses.
NAMES = {"mov": "M4A or MP4", "aac": "AAC", "matroska": "WebM or Matroska", "asf": "WMA"}
CODECS = frozenset({"aac", "alac", "mp3", "mp3float", "opus", "libopus", "vorbis", "flac", "wmav1", "wmav2"})
OPTIONS = {"codec_whitelist": ",".join(sorted(CODECS)), "protocol_whitelist": ""}
# The shortest packet of these codecs lasts 2.5 ms; packets that hold no sound must end too.
MAX_PACKETS_PER_SECOND = 1_000
# Frames wait until so many samples of all channels are worth a block.
BLOCK_SAMPLES = 1 << 17
# An encoder's priming and its last, padded frame: less than this is missing from a clip that is whole.
TOLERATED_SECONDS = 0.1
# FFmpeg writes an entry of 24 bytes for each packet that an index counts, whether it is there or not; an hour of video
# at 240 frames a second has 864,000.
MAX_INDEX_ENTRIES = 1_000_000
# Boxes of an MP4 that count packets: the run of a fragment, and sizes, after which comes the number.
_COUNTS = re.compile(rb"(?:trun.{4}|stsz.{8}|stz2.{8})(.{4})", re.DOTALL)
_ASF = bytes.fromhex("3026b2758e66cf11")


def demuxer(data: bytes) -> str | None:
    """FFmpeg's name of the container that the first bytes announce, None if libsndfile is to try."""
    if data[4:8] == b"ftyp":
        return "mov"
    if data.startswith(b"\x1aE\xdf\xa3"):
        return "matroska"
    if data.startswith(_ASF):
        return "asf"
    start = tag_bytes(data)
    return "aac" if is_adts(data[start : start + 2]) else None


def decode(data: bytes, demuxer: str, mono: Mono) -> None:
    """Adds the first audio stream of a container to `mono`.

    Raises MediaError if PyAV is not installed, or the container holds no sound of a known codec, is truncated or
    changes its format; PyAV's own errors where it is damaged.
    """
    try:
        import av
    except ImportError:
        raise MachineError(f"a clip in {NAMES[demuxer]} needs the package av") from None
    if demuxer == "mov":
        _check_index(data)
    with av.open(io.BytesIO(data), mode="r", format=demuxer, metadata_errors="ignore", options=OPTIONS) as container:
        if not container.streams.audio:
            raise MediaError("not a readable clip (it holds no sound)")
        stream = container.streams.audio[0]
        name = stream.codec_context.name
        if name not in CODECS:
            raise MediaError(f"not a readable clip (sound coded as {name})")
        stream.codec_context.thread_count = 1
        _add_stream(container, stream, mono)
        # Only this container's index says how many samples there are; others have an estimate.
        if demuxer == "mov" and stream.duration is not None and stream.time_base is not None:
            _check_whole(float(stream.duration * stream.time_base), mono)


def _check_index(data: bytes) -> None:
    # Searched, not parsed: whatever way FFmpeg takes to a box, its name is there.
    entries = sum(int.from_bytes(box[1], "big") for box in _COUNTS.finditer(data))
    if entries > MAX_INDEX_ENTRIES:
        raise MediaError(f"metadata or structure of a bomb (an index of {entries} packets)")


def _add_stream(container: av.container.InputContainer, stream: av.AudioStream, mono: Mono) -> None:
    waiting: list[np.ndarray] = []
    frames = 0
    for frame in _frames(container, stream, mono.max_seconds):
        if not mono.rate_hz:
            mono.start(frame.sample_rate, frame.layout.nb_channels)
        if (frame.sample_rate, frame.layout.nb_channels) != (mono.rate_hz, mono.channels):
            raise MediaError("not a readable clip (its rate or channels change)")
        waiting.append(_samples(frame, mono.channels))
        frames += len(waiting[-1])
        enough = mono.frames + frames >= mono.wanted
        if enough or frames * mono.channels >= BLOCK_SAMPLES:
            mono.add(np.concatenate(waiting))
            waiting, frames = [], 0
        if enough:
            return
    if waiting:
        mono.add(np.concatenate(waiting))


def _frames(container: av.container.InputContainer, stream: av.AudioStream, max_seconds: float) -> Iterator[Any]:
    most = int(MAX_PACKETS_PER_SECOND * (1 + max_seconds))
    for number, packet in enumerate(container.demux(stream)):
        if number > most:
            raise MediaError(f"not a readable clip (more than {most} packets)")
        yield from packet.decode()


def _samples(frame: Any, channels: int) -> np.ndarray:
    """A frame as shape (frames, channels) float32, full scale 1."""
    values = frame.to_ndarray()
    block = values.T if frame.format.is_planar else values.reshape(-1, channels)
    if block.dtype.kind == "f":
        return block.astype(np.float32)
    bits = np.iinfo(block.dtype).bits
    middle = 0 if block.dtype.kind == "i" else 1 << (bits - 1)
    return (block.astype(np.float32) - middle) / np.float32(1 << (bits - 1))


def _check_whole(promised_seconds: float, mono: Mono) -> None:
    promised = int(min(promised_seconds, mono.max_seconds) * mono.rate_hz)
    if mono.frames and mono.frames < promised - TOLERATED_SECONDS * mono.rate_hz:
        raise MediaError(f"truncated clip: {mono.frames} of {promised} samples")
