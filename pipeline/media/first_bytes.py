"""What a file is by its first bytes, in the words of a reason: people name files as they please."""

from __future__ import annotations

import re

# Of a text, markup is looked for so far.
HEAD_BYTES = 1_024
_MARKUP = re.compile(rb"<(svg|html|!doctype html)", re.IGNORECASE)
_AVIF = frozenset({b"avif", b"avis"})
_HEIF = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"mif2"})


def kind_of(data: bytes) -> str:
    """What a file is that cannot be read, with its article; what to say where nothing is known."""
    if not data:
        return "an empty file"
    if coded := heif_format(data):
        return f"a picture in {'HEIC' if coded == 'HEIF' else coded}"
    for pattern, kind in _KINDS:
        if pattern.match(data):
            return kind
    return _text_kind(data) or "its first bytes are of no known format"


def heif_format(data: bytes) -> str:
    """Pillow's name of a picture in boxes, AVIF or HEIF, by the brands of its first box; empty if it is no picture."""
    if data[4:8] != b"ftyp":
        return ""
    end = min(int.from_bytes(data[:4], "big"), HEAD_BYTES)
    major, brands = data[8:12], {data[at : at + 4] for at in range(8, end, 4)}
    if major in _AVIF or (major in _HEIF and brands & _AVIF and not brands & (_HEIF - {b"mif1", b"msf1", b"mif2"})):
        return "AVIF"
    return "HEIF" if major in _HEIF else ""


def _text_kind(data: bytes) -> str:
    head = data[:HEAD_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip()
    if not head.startswith(b"<"):
        return "" if data.strip(b"\0") else "a file of zeros"
    markup = _MARKUP.search(head)
    if markup is None:
        return "an XML document"
    return "an SVG drawing" if markup[1].lower() == b"svg" else "an HTML page"


_KINDS = tuple(
    (re.compile(pattern, re.DOTALL), kind)
    for pattern, kind in (
        (rb"\xff\xd8\xff|\x89PNG|GIF8|II\x2a\0|MM\0\x2a|II\x2b\0|RIFF.{4}WEBP", "a picture"),
        (rb"RIFF.{4}WAVE|fLaC|OggS|ID3|\.snd|caff", "a sound"),
        (rb".{4}ftyp", "a video or a sound in MP4"),
        (rb"\x1aE\xdf\xa3", "a video or a sound in WebM or Matroska"),
        (rb"RIFF.{4}AVI |FLV\x01|\0\0\x01[\xb3\xba]|G.{187}G|\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a video"),
        (rb"%PDF-", "a PDF document"),
        (rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript drawing"),
        (rb"8BPS", "a Photoshop document"),
        (rb"\0\0\x01\0", "an icon"),
        (rb"\xff\x0a|\0\0\0\x0cJXL ", "a picture in JPEG XL"),
        (rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  ", "a picture in JPEG 2000"),
        (rb"MThd", "a MIDI score"),
        (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!", "an archive"),
        (rb"version https://git-lfs", "a pointer of Git LFS, whose file was not fetched"),
    )
)
