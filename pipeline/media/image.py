"""Pictures of any mode to RGB: upright, on white, sixteen bits and floats to eight."""

from __future__ import annotations

import io
import re
import warnings

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from pipeline.errors import MachineError, MediaError
from pipeline.media.image_headers import MAX_EXIF_BYTES, check_header, check_size, picture_format
from pipeline.media.jpeg_end import completed
from pipeline.media.quoting import quoted

# Imported so that opening never loads a further plugin: Pillow would hand EPS to Ghostscript.
PLUGINS = (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
# Pictures are decoded in as many threads as are wanted: one picture takes one.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
# `open_image` bounds the size by its own limit; Pillow's, of twice this, backs it up. Its warnings would fill the log.
Image.MAX_IMAGE_PIXELS = 1 << 27
warnings.filterwarnings("ignore", module="PIL")
# Rows are laid on white and reduced to eight bits in bands of about so many pixels: copies of all would be gigabytes.
BAND_PIXELS = 1 << 20
_DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TRUNCATED = re.compile(r"truncat|incomplete|premature|end of file|unpack_from requires|not enough", re.IGNORECASE)
_OBJECT = re.compile(r"<[^>]*>")
_METADATA = re.compile(r"MAX_TEXT", re.IGNORECASE)


def open_image(data: bytes, max_pixels: int, draft: tuple[int, int] | None = None) -> Image.Image:
    """Decodes a picture to RGB, upright, on white; `draft` lets a JPEG decode at the smallest scale above that size.

    Holds at most about 16 bytes a pixel. Raises MediaError if the bytes are no picture of a known format, are damaged
    or cut off, hold more than `max_pixels`, or claim what only a decompression bomb does, as the package's table says.
    """
    name = picture_format(data)
    check_header(data, name, max_pixels)
    try:
        return _flatten(_upright(_decoded(data, name, max_pixels, draft)))
    except MediaError:
        raise
    except Exception as error:  # Pillow's plugins raise anything from KeyError to struct.error on damaged bytes
        raise _named(error) from None


def _decoded(data: bytes, name: str, max_pixels: int, draft: tuple[int, int] | None) -> Image.Image:
    picture = _opened(data, name)
    check_size(picture.width, picture.height, max_pixels)
    if draft and name == "JPEG":
        picture.draft("RGB", draft)
    try:
        picture.load()
    except OSError as error:
        if name != "JPEG" or not _TRUNCATED.search(str(error)) or (whole := completed(data)) is None:
            raise
        return _decoded(whole, name, max_pixels, draft)
    return picture


def _opened(data: bytes, name: str) -> Image.Image:
    if name == "AVIF" and not AvifImagePlugin.SUPPORTED:
        raise MachineError("a picture in AVIF needs a Pillow that is built with libavif")
    if name != "HEIF":
        return Image.open(io.BytesIO(data), formats=(name,))
    try:
        from pillow_heif import HeifImageFile, options
    except ImportError:
        raise MachineError("a picture in HEIC needs the package pillow-heif") from None
    options.DECODE_THREADS = 1
    picture: Image.Image = HeifImageFile(io.BytesIO(data))
    return picture


def _upright(picture: Image.Image) -> Image.Image:
    exif = picture.info.get("exif") or picture.info.get("Raw profile type exif") or b""
    # A text chunk holds EXIF in hexadecimal digits.
    if len(exif) > (1 if isinstance(exif, bytes) else 3) * MAX_EXIF_BYTES:
        raise MediaError(f"metadata or structure of a bomb (more than {MAX_EXIF_BYTES} bytes of EXIF)")
    try:
        turn = _TURNS.get(picture.getexif().get(_ORIENTATION, 1))
    except Exception:  # a picture is no worse for EXIF that cannot be read
        turn = None
    return picture if turn is None else picture.transpose(turn)


def _flatten(picture: Image.Image) -> Image.Image:
    if picture.mode in _DEEP_MODES:
        return _eight_bits(picture).convert("RGB")
    if "A" in picture.getbands() or "a" in picture.getbands() or "transparency" in picture.info:
        return _on_white(picture)
    return picture.convert("RGB")


def _on_white(picture: Image.Image) -> Image.Image:
    key = picture.info.get("transparency")
    if isinstance(key, tuple) and max(key) > 255:
        # The transparent colour of a picture of 16 bits a channel, of which Pillow keeps the upper eight.
        picture.info["transparency"] = tuple(value >> 8 for value in key)
    flat = Image.new("RGB", picture.size)
    rows = max(1, BAND_PIXELS // picture.width)
    for top in range(0, picture.height, rows):
        band = picture.crop((0, top, picture.width, min(top + rows, picture.height))).convert("RGBA")
        white = Image.new("RGBA", band.size, "white")
        flat.paste(Image.alpha_composite(white, band).convert("RGB"), (0, top))
    return flat


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Grey of 16 bits by its upper byte, wider integers and floats by the ranges that the package's table gives."""
    grey = Image.new("L", picture.size)
    rows = max(1, BAND_PIXELS // picture.width)
    bands = [(0, top, picture.width, min(top + rows, picture.height)) for top in range(0, picture.height, rows)]
    scale = 0.0 if picture.mode.startswith("I;16") else _scale(picture, bands)
    for box in bands:
        values = np.asarray(picture.crop(box))
        if not scale:
            # 65,535 = 255 × 257
            level = values // 257
            level[values == picture.info.get("transparency", -1)] = 255
        else:
            level = np.clip(np.nan_to_num(values.astype(np.float64) * scale, nan=0.0), 0, 255)
        grey.paste(Image.fromarray(level.astype(np.uint8)), box)
    return grey


def _scale(picture: Image.Image, bands: list[tuple[int, int, int, int]]) -> float:
    top = 0.0
    for box in bands:
        values = np.asarray(picture.crop(box))
        finite = values[np.isfinite(values)]
        top = max(top, float(finite.max(initial=0)))
    usual = (65_535,) if picture.mode == "I" else (1, 255, 65_535)
    return 255.0 / next((white for white in usual if top <= white), top)


def _named(error: Exception) -> MediaError:
    text = _OBJECT.sub("", " ".join(str(error).split())).strip(" :.") or type(error).__name__
    if _METADATA.search(text):
        return MediaError("metadata or structure of a bomb (compressed text or profile of more than 1 MiB)")
    return MediaError(f"{'truncated' if _TRUNCATED.search(text) else 'not a readable'} picture ({quoted(text)})")
