"""A tiny source that never changes: items of four groups, told apart by words, colours and tones."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image

AS_OF = "2026-01-01T00:00:00Z"
ITEMS, USERS, GROUPS, CHOICES, SHOWN = 40, 24, 4, 9, 3
RATE = 16_000
WORDS = ("river stone moss", "engine wheel oil", "violin bow string", "bread salt oven")
COLOURS = np.array([[200, 40, 40], [40, 160, 60], [50, 70, 200], [220, 200, 60]])
NAMES = ("items", "interactions", "users", "shown")
QUERY = "from read_json(getvariable('root') || '/{}.json')"


def write_source(folder: Path) -> dict[str, Any]:
    """Writes the files, and returns the `source` section that reads them."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    items, log = _items(rng, folder), _log(rng)
    people = [{"user_id": f"u{user:02d}", "profile": f"I like {WORDS[user % GROUPS]}"} for user in range(0, USERS, 3)]
    people.append({"user_id": "new", "profile": WORDS[0]})
    for name, rows in zip(NAMES, (items, log, people, _shown(rng, log)), strict=True):
        (folder / f"{name}.json").write_text(json.dumps(rows))
    return {"params": {"root": str(folder)}, **{name: QUERY.format(name) for name in NAMES}}


def _items(rng: np.random.Generator, folder: Path) -> list[dict[str, str | None]]:
    rows: list[dict[str, str | None]] = []
    for item in range(ITEMS):
        group, noise = item % GROUPS, rng.integers(-30, 30, (8, 8, 3))
        words = rng.permutation(WORDS[group].split() * 2 + WORDS[(group + 1) % GROUPS].split()[:1])
        picture = Image.fromarray(np.clip(COLOURS[group] + noise, 0, 255).astype(np.uint8))
        picture.resize((48, 48), Image.Resampling.NEAREST).save(folder / f"{item}.png")
        tone = np.sin(np.arange(RATE // 2) * (0.05 + 0.04 * group + 0.001 * item)) * 0.3
        soundfile.write(folder / f"{item}.wav", tone + 0.01 * rng.standard_normal(len(tone)), RATE, subtype="PCM_16")
        rows.append(
            {
                "item_id": f"i{item:02d}",
                # Without a text it has no title either, which would be read in its stead.
                "title": f"{WORDS[group].split()[item % 3]} {item}" if item % 7 else None,
                "text": " ".join(words) if item % 7 else None,
                "image": f"{item}.png" if item % 5 else None,
                "audio": f"{item}.wav" if item % 3 else None,
            }
        )
    return rows


def _log(rng: np.random.Generator) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    for user in range(USERS):
        taste = np.where(np.arange(ITEMS) % GROUPS == user % GROUPS, 6.0, 1.0) / np.arange(3, ITEMS + 3) ** 0.5
        for place, item in enumerate(rng.choice(ITEMS, CHOICES, replace=False, p=taste / taste.sum())):
            moment = _moment(10 * place + user % 7, user)
            rows.append({"user_id": f"u{user:02d}", "item_id": f"i{item:02d}", "ts": moment})
    return rows


def _shown(rng: np.random.Generator, log: list[dict[str, str]]) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    for row in log:
        others = [f"i{item:02d}" for item in rng.integers(0, ITEMS, SHOWN)]
        before = datetime.fromisoformat(row["ts"]) - timedelta(minutes=30)
        rows += [{**row, "item_id": item, "ts": before.isoformat()} for item in (row["item_id"], *others)]
    return rows


def _moment(day: int, minute: int) -> str:
    return (datetime(2025, 9, 1, tzinfo=UTC) + timedelta(days=day, minutes=minute)).replace(tzinfo=None).isoformat()
