"""Augmentation: a slightly different picture, clip or text of the same item, for training on scarce data.

| part | what may change |
|---|---|
| pixels, uint8 [h × w × 3] or float [3 × h × w] | a crop of 60–100 % of the area, mirrored, brighter, tinted |
| samples, float [n] | shifted, stretched by up to 10 %, noise at 20–40 dB below, another clip at 10–20 dB below |
| spectrogram, float [… × bands × frames] | as samples, on frames |
| tokens, int [n] | 10 % of the tokens left out, the first and the last kept |
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

LEAST_AREA = 0.6
TINT = 0.15
STRETCH = 0.1
NOISE_DB, MIX_DB = (20.0, 40.0), (10.0, 20.0)
DROPPED_TOKENS = 0.1


def augment(part: np.ndarray, modality: str, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A part of the same shape and dtype (a text may be shorter); `other` is another item's part, to mix in."""
    if modality == "text":
        return _tokens(part, rng)
    if modality == "image":
        return _pixels(part, rng)
    return _sound(part, other, rng)


def _tokens(part: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    mask = rng.random(len(part)) >= DROPPED_TOKENS
    mask[[0, -1]] = True
    return part[mask]


def _pixels(part: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    import torch
    from torch.nn.functional import interpolate

    channels_last = part.dtype == np.uint8
    pixels = torch.from_numpy(np.ascontiguousarray(part.transpose(2, 0, 1) if channels_last else part)).float()
    height, width = pixels.shape[1:]
    share = np.sqrt(rng.uniform(LEAST_AREA, 1))
    rows, columns = max(1, round(height * share)), max(1, round(width * share))
    top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
    pixels = interpolate(pixels[None, :, top : top + rows, left : left + columns], (height, width), mode="bilinear")[0]
    if rng.random() < 0.5:
        pixels = pixels.flip(2)
    gains = 1 + rng.uniform(-TINT, TINT) + rng.uniform(-TINT, TINT, 3) / 2
    pixels = pixels * torch.from_numpy(gains.astype(np.float32))[:, None, None]
    if channels_last:
        return np.ascontiguousarray(pixels.round().clamp(0, 255).byte().numpy().transpose(1, 2, 0))
    return np.ascontiguousarray(pixels.numpy())


def _sound(part: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    length = part.shape[-1]
    changed = _stretched(part, 1 + rng.uniform(-STRETCH, STRETCH))
    changed = np.roll(changed, rng.integers(-length // 4, length // 4 + 1), axis=-1)
    size = float(np.sqrt(np.mean(np.square(changed)))) or 1.0
    noise = rng.standard_normal(changed.shape).astype(part.dtype)
    changed = changed + noise * size * 10 ** (-rng.uniform(*NOISE_DB) / 20)
    if other.shape == part.shape and rng.random() < 0.5:
        loud = float(np.sqrt(np.mean(np.square(other)))) or 1.0
        changed = changed + other * (size / loud) * 10 ** (-rng.uniform(*MIX_DB) / 20)
    return np.ascontiguousarray(changed, dtype=part.dtype)


def _stretched(part: np.ndarray, rate: float) -> np.ndarray:
    """Faster or slower along the last axis, cut or repeated at its end to the old length; samples keep their pitch."""
    length: int = part.shape[-1]
    if part.ndim == 1:
        import librosa

        stretched: npt.NDArray[np.float32] = librosa.effects.time_stretch(part, rate=rate)
    else:
        at = np.arange(0, length - 1, rate)
        low = at.astype(int)
        share = (at - low).astype(part.dtype)
        stretched = part[..., low] * (1 - share) + part[..., low + 1] * share
    return np.take(stretched, np.arange(length), axis=-1, mode="wrap")
