"""Media files: found below one root, bounded in size before they are read or decoded, each failure a named reason.

| file | result |
|---|---|
| path leaves the root, is no regular file, is absent or too large | `MediaError` before a byte is read |
| JPEG, PNG, WebP, GIF (first frame), BMP, TIFF | RGB, turned upright by EXIF, alpha laid on white |
| any other or a damaged picture | `MediaError` |
| picture of too many pixels | `MediaError` from its header, before the pixels are decoded |
| WAV, FLAC, Ogg, MP3 and what else libsndfile opens | mono float32, at most `max_seconds` |
| any other, damaged, empty or silent-by-truncation clip | `MediaError` |
"""

from __future__ import annotations

import io
import os
import stat
import warnings
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image, ImageOps

from pipeline.errors import MediaError

# `open_image` bounds the size by its own limit, from the header; Pillow's warnings would only fill the night's log.
Image.MAX_IMAGE_PIXELS = None
warnings.filterwarnings("ignore", module="PIL")
# Pillow would hand EPS to Ghostscript and guess at exotic formats: only what a catalogue holds is opened.
PICTURE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


def read_media(root: Path, relative: str, max_bytes: int) -> bytes:
    """Reads one file below `root`.

    Raises MediaError if the path leaves the root (also through a link), or the file is absent, not a regular file,
    or larger than `max_bytes`.
    """
    base = os.path.realpath(root)
    try:
        path = os.path.realpath(os.path.join(base, relative))
        if os.path.commonpath([base, path]) != base:
            raise MediaError(f"path leaves the media root: {relative}")
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise MediaError(f"not a regular file: {relative}")
        if status.st_size > max_bytes:
            raise MediaError(f"{status.st_size} bytes, over the limit of {max_bytes}: {relative}")
        with open(path, "rb") as file:
            return file.read(max_bytes)
    except FileNotFoundError:
        raise MediaError(f"file not found: {relative}") from None
    except (OSError, ValueError) as error:
        raise MediaError(f"cannot be read ({getattr(error, 'strerror', None) or error}): {relative}") from None


def open_image(data: bytes, max_pixels: int, draft: tuple[int, int] | None = None) -> Image.Image:
    """Decodes a picture to RGB, upright, on white; `draft` lets a JPEG decode at the smallest scale above that size.

    Raises MediaError if the bytes are no picture of a known format, are damaged, or hold more than `max_pixels`.
    """
    try:
        picture: Image.Image = Image.open(io.BytesIO(data), formats=PICTURE_FORMATS)
        if picture.width * picture.height > max_pixels:
            raise MediaError(f"{picture.width} × {picture.height} pixels, over the limit of {max_pixels}")
        if draft:
            picture.draft("RGB", draft)
        picture.load()
        return _flatten(ImageOps.exif_transpose(picture) or picture)
    except MediaError:
        raise
    except Exception as error:  # Pillow's plugins raise anything from KeyError to struct.error on damaged bytes
        raise MediaError(f"not a readable picture ({_reason(error)})") from None


def open_audio(data: bytes, sample_rate_hz: int, max_seconds: float) -> np.ndarray:
    """Decodes a clip to mono at `sample_rate_hz`: shape (samples,), float32 in [-1, 1], cut at `max_seconds`.

    Raises MediaError if the bytes are no clip that libsndfile opens, are truncated, or hold no sample.
    """
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if not 0 < file.channels <= 64 or not 1_000 <= file.samplerate <= 768_000:
                raise MediaError(f"{file.channels} channels at {file.samplerate} Hz is no clip")
            wanted = min(file.frames, int(max_seconds * file.samplerate))
            samples = file.read(wanted, dtype="float32", always_2d=True).mean(axis=1, dtype=np.float32)
            rate_hz = file.samplerate
    except MediaError:
        raise
    except Exception as error:
        raise MediaError(f"not a readable clip ({_reason(error)})") from None
    if not len(samples):
        raise MediaError("not a readable clip (it holds no sample)")
    if len(samples) < wanted:
        raise MediaError(f"truncated clip: {len(samples)} of {wanted} samples")
    if not np.isfinite(samples).all():
        raise MediaError("not a readable clip (samples are not finite)")
    return _resample(samples, rate_hz, sample_rate_hz)


def _resample(samples: np.ndarray, rate_hz: int, wanted_hz: int) -> np.ndarray:
    if rate_hz == wanted_hz:
        return samples
    import soxr

    return np.asarray(soxr.resample(samples, rate_hz, wanted_hz), dtype=np.float32)


def _flatten(picture: Image.Image) -> Image.Image:
    if picture.mode in ("I;16", "I;16B", "I;16L", "I"):
        pixels = np.asarray(picture, dtype=np.float64)
        picture = Image.fromarray((pixels * (255.0 / max(pixels.max(), 65_535.0))).astype(np.uint8))
    if "A" in picture.getbands() or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return picture.convert("RGB")


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()).replace("<_io.BytesIO object at ", "<")
    return (text.split("<")[0].strip(" :") or type(error).__name__)[:120]
