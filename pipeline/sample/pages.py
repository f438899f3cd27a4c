"""The texts beside the shop: README.txt, which tells what is planted, and a medley.yaml that is ready to run."""

from __future__ import annotations

import textwrap

from pipeline.sample.dirt import KINDS, Planted
from pipeline.sample.tastes import SHOWS_ONLY_IN, TRAITS

_TOLD_IN = {"text": "the blurb", "image": "the sleeve", "audio": "the clip"}
_MISSING = {
    "image": ("sleeve_path_empty", "sleeve_file_absent", "sleeve_corrupt", "sleeve_outside_folder"),
    "audio": ("clip_path_empty", "clip_file_absent", "clip_truncated"),
}
_HIGHEST_DEFAULT_RATE = 0.05
_SMALL_SHOP_RATE = 0.5
_TEXT_ENCODER = "use_multilingual"


def readme(items: int, users: int, rows: tuple[int, int], seed: int, planted: Planted) -> str:
    """The README of a shop. rows: of purchases.csv and of shown.csv."""
    dirt = "\n".join(_entry(KINDS[kind], planted[kind]) for kind in KINDS)
    traits = "\n".join(f"  {trait:<6} {', '.join(levels)}  ({_shown(trait)})" for trait, levels in TRAITS.items())
    return _README.format(
        items=items, users=users, purchases=rows[0], shown=rows[1], seed=seed, traits=traits, dirt=dirt
    )


def settings(items: int, planted: Planted) -> str:
    """The medley.yaml of a shop of so many records."""
    return _SETTINGS + _extract(items, planted)


def _extract(items: int, planted: Planted) -> str:
    shares = {modality: sum(len(planted[kind]) for kind in kinds) / items for modality, kinds in _MISSING.items()}
    strict = [modality for modality, share in shares.items() if share >= _HIGHEST_DEFAULT_RATE]
    options = {"text": [f"encoder: {_TEXT_ENCODER}"]}
    for modality in strict:
        options.setdefault(modality, []).append(f"max_error_rate: {_SMALL_SHOP_RATE}")
    reason = "# The shop is so small that its planted dirt exceeds the usual limit of 5 %.\n" if strict else ""
    lines = "".join(f"  {modality}: {{{', '.join(settings)}}}\n" for modality, settings in options.items())
    return f"# Blurbs are in English and in Chinese: one encoder reads both.\n{reason}extract:\n{lines}"


def _entry(meaning: str, names: tuple[str, ...]) -> str:
    return textwrap.fill(f"{meaning}: {', '.join(names)}", 100, initial_indent="  ", subsequent_indent="      ")


def _shown(trait: str) -> str:
    return f"told by {_TOLD_IN[SHOWS_ONLY_IN[trait]]} alone" if trait in SHOWS_ONLY_IN else _SHARED[trait]


_SHARED = {
    "genre": "in the blurb, the sleeve, the clip and a column",
    "mood": "in the title, the blurb, the sleeve and the clip",
    "era": "in the blurb, the sleeve and, as the year, a column",
}

_README = """\
A synthetic record shop
=======================

Everything here is synthetic: no such record, artist, label or buyer exists. Sleeves, music, blurbs and
purchases were drawn by `medley sample` with seed {seed}. The files may be used for anything.

  items.csv       {items} records: titles, artists, blurbs and their language, paths of sleeves and clips
  purchases.csv   {purchases} rows by {users} buyers, times in UTC
  shown.csv       {shown} rows: the ten records on the page that each purchase was made from
  buyers.csv      what buyers say of themselves: a profile, or none, and its language
  sleeves/        JPEG
  clips/          WAV, FLAC, Ogg Vorbis and MP3, three to four seconds
  medley.yaml     ready: medley run -c medley.yaml

About half of the blurbs are in English (language en), the others in Chinese (zh); which is drawn for each record
and has nothing to do with its traits; buyers' profiles likewise. Titles and names of artists are in Latin letters
throughout.

Planted tastes
--------------
Every record has six traits, drawn independently:

{traits}

Every buyer likes some levels of each more than others, partly as their scene does, and goes on liking them.
A profile tells the two genres, the mood and the theme that its buyer likes best, and no record.
A purchase is drawn by softmax over a record's liked traits and a little popularity. Three traits show in one
modality alone, so a recommender that leaves a modality out must lose something. Beside the record that is
bought, a page shows five that sell well and four that suit the buyer, some of which the buyer has already.

Planted dirt
------------
{dirt}
"""

_SETTINGS = """\
# Run with: medley run -c medley.yaml
name: Synthetic record shop
note: "Synthetic data: no such record, artist or buyer exists; drawn by medley sample, see README.txt."
workspace: workspace
source:
  items: sources/sample/items.sql
  interactions: sources/sample/interactions.sql
  users: sources/sample/users.sql
  shown: sources/sample/shown.sql
  params: {root: .}
ingest: {split: time}
train: {budget_minutes: 2}
nightly: {retry_delay_seconds: 5}
"""
