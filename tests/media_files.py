"""Small pictures and clips of every format, made by the encoders themselves, and a few files that no encoder writes."""

from __future__ import annotations

import io
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

WIDTH, HEIGHT = 64, 48


def photo(width: int = WIDTH, height: int = HEIGHT, mode: str = "RGB") -> Image.Image:
    """A smooth picture that no turn or mirror maps onto itself."""
    across, down = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    bands = [220 * across + 20, 200 * down + 30, 120 * across * down + 60, 255 * across]
    pixels = np.stack(bands, axis=-1).astype(np.uint8)
    return Image.fromarray(pixels if mode == "RGBA" else pixels[..., :3]).convert(mode)


def saved(picture: Image.Image, container: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, container, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG, checksum and all."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    pixels: np.ndarray, depth: int, colour: int, before: bytes = b"", after: bytes = b"", claimed: int | None = None
) -> bytes:
    """A PNG of `pixels`, shape (height, bytes a row); `claimed` puts another width and height into its header."""
    height, row_bytes = pixels.shape
    width = row_bytes * 8 // (depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour])
    header = struct.pack(">IIBBBBB", claimed or width, claimed or height, depth, colour, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in pixels))
    body = chunk(b"IHDR", header) + before + chunk(b"IDAT", rows) + after + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def png_with(before: bytes = b"", after: bytes = b"", claimed: int | None = None) -> bytes:
    """A red PNG of 4 × 4 with further chunks."""
    return png(np.tile(np.array([200, 10, 20], np.uint8), (4, 4)), 8, 2, before, after, claimed)


def tiff(width: int, height: int, tags: dict[int, tuple[int, list[int]]], data: bytes = b"\x80" * 64) -> bytes:
    """A little-endian TIFF of one strip of 8-bit grey; `tags` (type, values) add to its tags or replace them."""
    base: dict[int, tuple[int, list[int]]] = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [8]),
        259: (3, [1]),
        262: (3, [1]),
        273: (4, [8]),
        277: (3, [1]),
        278: (4, [height]),
        279: (4, [len(data)]),
    }
    entries, far = b"", b""
    every = sorted({**base, **tags}.items())
    end = 8 + len(data) + 2 + 12 * len(every) + 4
    for tag, (kind, values) in every:
        raw = struct.pack(f"<{len(values)}{'I' if kind == 4 else 'H'}", *values)
        place = raw.ljust(4, b"\0") if len(raw) <= 4 else struct.pack("<I", end + len(far))
        far += raw if len(raw) > 4 else b""
        entries += struct.pack("<HHI", tag, kind, len(values)) + place
    header = b"II\x2a\0" + struct.pack("<I", 8 + len(data))
    return header + data + struct.pack("<H", len(every)) + entries + b"\0\0\0\0" + far


def scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is there `count` times more."""
    data = saved(photo(), "JPEG", progressive=True)
    last = data.rfind(b"\xff\xda")
    return data[:-2] + data[last:-2] * count + b"\xff\xd9"


def rle_bmp(width: int, height: int, body: bytes) -> bytes:
    """A BMP of 8-bit run-length data with a grey palette."""
    palette = b"".join(bytes((level, level, level, 0)) for level in range(256))
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(body), 0, 0, 256, 0)
    offset = 14 + len(header) + len(palette)
    return b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset) + header + palette + body


def gif_outside(side: int) -> bytes:
    """A GIF of 1 × 1 whose first frame claims `side` × `side`, to be cleared to the background afterwards."""
    screen = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0)
    control = b"\x21\xf9\x04\x08\0\0\0\0"
    return screen + control + b"\x2c" + struct.pack("<4HB", 0, 0, side, side, 0) + b"\x02\x02\x4c\x01\0;"


def pictures() -> dict[str, bytes]:
    """A whole picture in every format and mode that opens."""
    frames = [photo(), photo().rotate(180)]
    grey16 = Image.fromarray(np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH) * 20)
    animated = {"save_all": True, "append_images": frames[1:], "duration": 50}
    files = {
        "jpeg": saved(photo(), "JPEG"),
        "jpeg progressive": saved(photo(), "JPEG", progressive=True),
        "jpeg large": saved(photo(900, 700), "JPEG", progressive=True),
        "jpeg grey": saved(photo(mode="L"), "JPEG"),
        "jpeg cmyk": saved(photo(mode="CMYK"), "JPEG"),
        "jpeg exif": saved(photo(), "JPEG", exif=oriented(6)),
        "png": saved(photo(), "PNG"),
        "png palette": saved(photo().quantize(16), "PNG", transparency=3),
        "png alpha": saved(photo(mode="RGBA"), "PNG"),
        "png grey alpha": saved(photo(mode="LA"), "PNG"),
        "png 1": saved(photo(mode="1"), "PNG"),
        "png 16": saved(grey16, "PNG"),
        "png interlaced": interlaced(),
        "png large": saved(photo(700, 500), "PNG"),
        "apng": saved(frames[0], "PNG", **animated),
        "webp": saved(photo(), "WEBP"),
        "webp lossless": saved(photo(mode="RGBA"), "WEBP", lossless=True),
        "webp animated": saved(frames[0], "WEBP", **animated),
        "gif": saved(photo().quantize(32), "GIF"),
        "gif animated": saved(frames[0], "GIF", **animated),
        "bmp": saved(photo(), "BMP"),
        "bmp palette": saved(photo().quantize(32), "BMP"),
        "avif": saved(photo(300, 200), "AVIF"),
        "avif alpha": saved(photo(mode="RGBA"), "AVIF"),
        "avif animated": saved(frames[0], "AVIF", **animated),
        "bmp rle": rle_bmp(8, 2, b"\x08\x40\0\0\x08\x80\0\x01"),
        "tiff 16": saved(grey16, "TIFF"),
        "tiff float": saved(photo(mode="L").convert("F"), "TIFF"),
        "tiff cmyk": saved(photo(mode="CMYK"), "TIFF", compression="tiff_lzw"),
    }
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        files[f"tiff {compression}"] = saved(photo(), "TIFF", compression=compression)
    return files


def heic(picture: Image.Image, **options: Any) -> bytes:
    """A picture written by pillow-heif."""
    import pillow_heif

    buffer = io.BytesIO()
    pillow_heif.from_pillow(picture).save(buffer, **options)
    return buffer.getvalue()


def heics() -> dict[str, bytes]:
    """A whole picture of every kind that is left to pillow-heif."""
    return {
        "heic": heic(photo()),
        "heic alpha": heic(photo(mode="RGBA")),
        "heic tiles": heic(photo(500, 300), tile_size=256),
        "heic exif": heic(photo(), exif=oriented(6)),
    }


def box(kind: bytes, content: bytes) -> bytes:
    """A box of an AVIF, a HEIC or an MP4."""
    return struct.pack(">I", 8 + len(content)) + kind + content


def interlaced() -> bytes:
    """An interlaced PNG of 8-bit grey: seven passes, here of one level."""
    width, height, level = 13, 9, 90
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    body = b""
    for left, top, across, down in passes:
        columns, rows = len(range(left, width, across)), len(range(top, height, down))
        body += (b"\0" + bytes([level]) * columns) * rows if columns else b""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def oriented(value: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif.tobytes()


def tone(seconds: float, rate_hz: int = 8_000, channels: int = 2) -> np.ndarray:
    """A sine of 440 Hz at half of full scale, shape (frames, channels)."""
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate_hz)) / rate_hz)
    return wave[:, None].repeat(channels, 1)


def clip(container: str, subtype: str | None = None, samples: np.ndarray | None = None, rate_hz: int = 8_000) -> bytes:
    """A clip written by libsndfile."""
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(0.3) if samples is None else samples, rate_hz, format=container, subtype=subtype)
    return buffer.getvalue()


CLIPS = {
    "wav 8": ("WAV", "PCM_U8"),
    "wav 16": ("WAV", "PCM_16"),
    "wav 24": ("WAV", "PCM_24"),
    "wav 32": ("WAV", "PCM_32"),
    "wav float": ("WAV", "FLOAT"),
    "wav double": ("WAV", "DOUBLE"),
    "wav adpcm": ("WAV", "MS_ADPCM"),
    "flac": ("FLAC", "PCM_16"),
    "flac 24": ("FLAC", "PCM_24"),
    "ogg vorbis": ("OGG", "VORBIS"),
    "ogg opus": ("OGG", "OPUS"),
    "mp3": ("MP3", None),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "rf64": ("RF64", "PCM_16"),
}


def clips() -> dict[str, bytes]:
    """A clip of 0.3 s in every format that libsndfile opens for us, and two longer ones."""
    files = {name: clip(container, subtype) for name, (container, subtype) in CLIPS.items()}
    files["flac long"] = clip("FLAC", samples=tone(3))
    files["ogg long"] = clip("OGG", samples=tone(3, channels=1))
    return files


def muxed(container: str, codec: str, samples: np.ndarray, rate_hz: int = 44_100, **options: str) -> bytes:
    """A clip written by PyAV; `samples` has shape (frames, channels)."""
    import av

    layout = "mono" if samples.shape[1] == 1 else "stereo"
    # One of the options has the muxer open its output again, which no buffer can.
    with tempfile.NamedTemporaryFile() as file:
        with av.open(file.name, "w", format=container, options=options) as output:
            _encode(output, codec, samples, rate_hz, layout)
        return Path(file.name).read_bytes()


def _encode(output: Any, codec: str, samples: np.ndarray, rate_hz: int, layout: str) -> None:
    import av

    stream = output.add_stream(codec, rate=rate_hz, layout=layout)
    stream.bit_rate = 96_000
    kind = stream.codec_context.codec.audio_formats[0].name
    encoder_frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T, np.float32), "fltp", layout)
    encoder_frame.sample_rate = rate_hz
    resampler = av.AudioResampler(format=kind, layout=layout, rate=rate_hz)
    for frame in resampler.resample(encoder_frame):
        output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


def containers(seconds: float = 0.3) -> dict[str, bytes]:
    """A clip in every container that is left to PyAV."""
    samples = tone(seconds, 44_100)
    return {
        "m4a": muxed("mp4", "aac", samples),
        "m4a index first": muxed("mp4", "aac", samples, movflags="faststart"),
        "m4a alac": muxed("mp4", "alac", samples),
        "m4a fragmented": muxed("mp4", "aac", samples, movflags="frag_keyframe+empty_moov"),
        "aac": muxed("adts", "aac", samples),
        "webm": muxed("webm", "libopus", tone(seconds, 48_000), 48_000),
        "mka": muxed("matroska", "aac", samples),
        "wma": muxed("asf", "wmav2", samples),
    }
