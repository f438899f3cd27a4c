"""Record sleeves: borders by genre, palette by genre and mood, a motif in the middle, layout and type by era."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from pipeline.sample.motifs import FEELS, Shape, draw_motif
from pipeline.sample.ornaments import draw_border
from pipeline.sample.palette import Colour, Palette, brightness, mix, palette_of
from pipeline.sample.tastes import Record, stream

# Drawn at twice the size and halved, which smooths every edge.
_SIDE = 720
_QUALITY = 88
# Of the picture's height, each border.
_BORDER = 0.14
_INK: Colour = (26, 24, 22)
_CREAM: Colour = (250, 240, 216)


@dataclass(frozen=True, slots=True)
class _Design:
    """What a layout arranges: genre, colours, the motif's shapes, the printed lines, and whether the picture glows."""

    genre: str
    palette: Palette
    shapes: list[Shape]
    title: str
    artist: str
    mark: str
    glow: bool


@dataclass(frozen=True, slots=True)
class _Type:
    """How a line is set: size in pixels, the width it must fit, and how it is inked."""

    size: int
    room: int
    fill: Colour
    stroke: int = 0
    outline: Colour | None = None
    anchor: str = "la"


def sleeve_of(record: Record, seed: int, title: str, artist: str) -> bytes:
    """The sleeve as JPEG, 360 pixels square, marked as synthetic in small print."""
    rng = stream("sleeve", seed, record.number)
    palette = palette_of(record.genre, record.mood, rng)
    shapes = draw_motif(record.motif, palette, FEELS[record.mood], rng)
    mark = f"SYN {record.number:04d}  SYNTHETIC"
    design = _Design(record.genre, palette, shapes, title, artist, mark, glow=record.mood == "dreamy")
    picture = _LAYOUTS[record.era](design, rng).reduce(2)
    grain = _GRAIN.get(record.era, 0.0) + _GRAIN.get(record.mood, 0.0)
    if grain:
        picture = _grain(picture, grain, rng)
    output = io.BytesIO()
    picture.save(output, "JPEG", quality=_QUALITY)
    return output.getvalue()


def _sixties(design: _Design, rng: np.random.Generator) -> Image.Image:
    """A paper band with a heavy title over a flat picture, and STEREO along the top edge."""
    palette = design.palette
    picture = Image.new("RGB", (_SIDE, _SIDE), mix(palette.paper, (247, 240, 222), 0.75))
    band, top = (20, 200) if rng.random() < 0.7 else (530, 20)
    picture.paste(_paint(design, (_SIDE - 40, 500)), (20, top))
    pen = ImageDraw.Draw(picture)
    _set(pen, (28, band), "S T E R E O", _Type(20, 200, _INK))
    _set(pen, (_SIDE - 28, band), design.mark, _Type(18, 300, _INK, anchor="ra"))
    pen.line([(24, band + 32), (_SIDE - 24, band + 32)], fill=_INK, width=3)
    _set(pen, (26, band + 44), design.title.upper(), _Type(78, _SIDE - 56, _INK, stroke=2))
    spot = min(palette.inks, key=brightness)
    _set(pen, (28, band + 128), design.artist, _Type(34, _SIDE - 60, mix(spot, _INK, 0.35), stroke=1))
    return picture


def _seventies(design: _Design, rng: np.random.Generator) -> Image.Image:
    """A rounded window in thick nested frames on a brown card, with a fat outlined title below."""
    palette = design.palette
    card = mix(mix(palette.paper, (190, 120, 60), 0.4), (46, 22, 12), 0.72)
    picture = Image.new("RGB", (_SIDE, _SIDE), card)
    pen = ImageDraw.Draw(picture)
    for step, ink in enumerate((*palette.inks[:3], _CREAM)):
        inset = 22 + 16 * step
        pen.rounded_rectangle([inset, inset, _SIDE - inset, _SIDE - 130 - inset // 2], 120 - 14 * step, fill=ink)
    size = (_SIDE - 180, _SIDE - 270)
    picture.paste(_paint(design, size), (90, 90), _window(size, 60))
    outline = mix(palette.inks[int(rng.integers(2))], (40, 18, 8), 0.35)
    _set(pen, (_SIDE // 2, 584), design.title, _Type(68, _SIDE - 90, _CREAM, 5, outline, "ma"))
    _set(pen, (_SIDE // 2, 662), design.artist, _Type(28, _SIDE - 120, _CREAM, anchor="ma"))
    _set(pen, (_SIDE - 20, _SIDE - 12), design.mark, _Type(16, 300, mix(_CREAM, card, 0.3), anchor="rs"))
    return picture


def _eighties(design: _Design, rng: np.random.Generator) -> Image.Image:
    """Full bleed into the night: a dark fade, scan lines, slanted neon and a title with a hard shadow."""
    palette = design.palette
    night = mix(min((palette.paper, palette.ink), key=brightness), (12, 8, 40), 0.7)
    dark = Image.new("RGB", (_SIDE, _SIDE), night)
    picture = Image.composite(dark, _paint(design, (_SIDE, _SIDE)), _dusk())
    pen = ImageDraw.Draw(picture)
    neon = mix(max(palette.inks, key=lambda ink: max(ink) - min(ink) + max(ink) // 2), (255, 255, 255), 0.2)
    drop = int(rng.integers(60, 110))
    for step in range(3):
        y = 516 + 13 * step
        pen.line([(0, y), (_SIDE, y - drop)], fill=neon, width=7 - 2 * step)
    for shift, ink in ((6, night), (0, neon)):
        _set(pen, (36 + shift, 562 + shift), design.title, _Type(84, _SIDE - 90, ink, stroke=3))
    _set(pen, (40, 662), " ".join(design.artist.upper()), _Type(26, _SIDE - 330, (245, 245, 250)))
    _set(pen, (_SIDE - 24, _SIDE - 28), design.mark, _Type(17, 300, (200, 200, 215), anchor="rs"))
    return picture


def _nineties(design: _Design, rng: np.random.Generator) -> Image.Image:
    """A small off-centre picture on a wide empty ground, lower-case type and a row of colour chips."""
    palette = design.palette
    pale = brightness(palette.paper) >= 120
    ground = mix(palette.paper, (236, 235, 231) if pale else (92, 94, 98), 0.82 if pale else 0.5)
    ink = _INK if pale else (240, 239, 234)
    picture = Image.new("RGB", (_SIDE, _SIDE), ground)
    side, top = int(rng.integers(440, 490)), int(rng.integers(56, 96))
    left = 48 if rng.random() < 0.5 else _SIDE - side - 48
    picture.paste(_paint(design, (side, side)), (left, top))
    pen = ImageDraw.Draw(picture)
    margin = _SIDE - 48 - 36 if left == 48 else 48
    for step, chip in enumerate((palette.paper, *palette.inks)):
        pen.rectangle([margin, top + 48 * step, margin + 36, top + 48 * step + 36], fill=chip, outline=ink)
    _set(pen, (left, top + side + 26), design.title.lower(), _Type(42, side, ink))
    _set(pen, (left, top + side + 76), design.artist.lower(), _Type(24, side, mix(ink, ground, 0.3)))
    _set(pen, (48, _SIDE - 26), design.mark.lower(), _Type(17, 300, mix(ink, ground, 0.35), anchor="ls"))
    return picture


def _paint(design: _Design, size: tuple[int, int]) -> Image.Image:
    """The motif on its paper, cut to `size` (width, height) around its middle, between two borders."""
    art = Image.new("RGB", size, design.palette.paper)
    pen = ImageDraw.Draw(art)
    reach = max(size)
    shift = (np.array(size) - reach) / 2
    for points, colour in design.shapes:
        pen.polygon(np.round(points * reach + shift).astype(int).ravel().tolist(), fill=colour)
    border = _border(design, size[0], round(_BORDER * size[1]))
    art.paste(border, (0, 0))
    art.paste(border.transpose(Image.Transpose.ROTATE_180), (0, size[1] - border.height))
    return _glow(art) if design.glow else art


def _border(design: _Design, width: int, height: int) -> Image.Image:
    """The genre's ornament over the whole width, with a rule of paper along its lower edge."""
    strip = Image.new("RGB", (width, height), design.palette.paper)
    pen = ImageDraw.Draw(strip)
    printed = height - 6
    for points, colour in draw_border(design.genre, design.palette.border, width / printed):
        pen.polygon(np.round(points * printed).astype(int).ravel().tolist(), fill=colour)
    pen.rectangle([0, printed, width, height], fill=design.palette.paper)
    return strip


def _set(pen: ImageDraw.ImageDraw, place: tuple[int, int], text: str, kind: _Type) -> None:
    """Prints one line, smaller where it would not fit."""
    width = pen.textlength(text, font=_font(kind.size)) + 2 * kind.stroke
    size = max(14, int(kind.size * min(1, kind.room / width)))
    pen.text(
        place,
        text,
        font=_font(size),
        fill=kind.fill,
        anchor=kind.anchor,
        stroke_width=kind.stroke,
        stroke_fill=kind.outline or kind.fill,
    )


@lru_cache(maxsize=2)
def _window(size: tuple[int, int], radius: int) -> Image.Image:
    mask = Image.new("L", size, 0)
    ImageDraw.Draw(mask).rounded_rectangle([0, 0, size[0] - 1, size[1] - 1], radius, fill=255)
    return mask


@lru_cache(maxsize=1)
def _dusk() -> Image.Image:
    rows = np.clip((np.arange(_SIDE) / _SIDE - 0.35) * 1.75, 0, 1)
    rows[::12] = rows[1::12] = np.clip(rows[::12] + 0.35, 0, 1)
    return Image.fromarray(np.repeat((rows * 255).astype(np.uint8)[:, None], _SIDE, axis=1))


def _glow(art: Image.Image) -> Image.Image:
    halo = art.reduce(6).filter(ImageFilter.GaussianBlur(3)).resize(art.size, Image.Resampling.BILINEAR)
    return Image.blend(art, halo, 0.5)


def _grain(picture: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    noise = np.float32(strength) * rng.standard_normal((picture.height, picture.width, 1), dtype=np.float32)
    return Image.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8))


@lru_cache(maxsize=128)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


# Paper of two decades; the fierce are printed coarsely.
_GRAIN = {"1970s": 8.0, "1990s": 4.0, "fierce": 18.0}
_LAYOUTS: dict[str, Callable[[_Design, np.random.Generator], Image.Image]] = {
    "1960s": _sixties,
    "1970s": _seventies,
    "1980s": _eighties,
    "1990s": _nineties,
}
