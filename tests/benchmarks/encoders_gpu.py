"""What a card gives: items a second by the engine that is chosen on it, as a share of the card's own peak.

The peak is measured, not read from a table: products of large bf16 matrices, the best of a few.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config import Config, Modality
from tests.benchmarks.encoders_image import resnet50_weights
from tests.benchmarks.harness import Case, Quality

TEXT_TOKENS, TEXTS, PICTURES = 128, 4096, 1024
SIDE, REPEATS = 8192, 5


def cases(side: int = SIDE, texts: int = TEXTS, pictures: int = PICTURES) -> list[Case]:
    """MiniLM over texts of 128 tokens and ResNet-50 over pictures of 224 pixels, decoded already."""
    peak = peak_flops(side)
    draw = np.random.default_rng(0)
    tokens = [[draw.integers(1000, 20_000, TEXT_TOKENS)] for _ in range(texts)]
    pixels = [[draw.integers(0, 255, (224, 224, 3), dtype=np.uint8)] for _ in range(pictures)]
    with tempfile.TemporaryDirectory() as folder:
        path, told = resnet50_weights(Path(folder))
        image = {"encoder": "torchvision", "model": "resnet50", "weights": f"path:{path}", "batch_rows": 256}
        return [
            _case("MiniLM, texts of 128 tokens", "text", {"batch_tokens": 65_536}, tokens, peak),
            _case(f"ResNet-50 ({told})", "image", image, pixels, peak),
        ]


def peak_flops(side: int) -> float:
    """Floating-point operations a second of a product of two bf16 matrices, side × side."""
    import torch

    from pipeline.encoders.engine.engines import device

    one = torch.randn(side, side, device=device(), dtype=torch.bfloat16)
    best = 0.0
    for _ in range(REPEATS):
        begin = time.perf_counter()
        (one @ one).sum().item()  # reading the value waits for the card
        best = max(best, 2 * side**3 / (time.perf_counter() - begin))
    return best


def _case(name: str, modality: Modality, settings: dict[str, Any], inputs: list[Any], peak: float) -> Case:
    from pipeline.encoders import make
    from pipeline.encoders.engine import engine_selection as choose
    from pipeline.encoders.engine import engines
    from pipeline.encoders.engine.network import NetworkEncoder

    others = {other: None for other in ("text", "image", "audio") if other != modality}
    encoder = make(Config.model_validate({"extract": {modality: settings, **others}}), modality)
    assert isinstance(encoder, NetworkEncoder)
    encoder.load()
    needed = _flops(encoder, inputs[0])
    with tempfile.TemporaryDirectory() as folder:
        encoder.prepared = engines.Prepared(folder=Path(folder))
        chosen, _ = choose.choose(encoder, inputs[:256], 10**9)
        encoder.prepared = chosen
        encoder.use(engines.make(chosen, encoder.network, encoder.collate(encoder.examples())))
        seconds = [_seconds(encoder, inputs) for _ in range(REPEATS + 1)][1:]
    rate = len(inputs) / float(np.median(seconds))
    return Case(
        f"gpu, {name}",
        ours=rate,
        other=("the card's peak in bf16", peak / needed),
        ratio=rate * needed / peak,
        quality=Quality("mean cosine to fp32, sample", chosen.cosine, 0.999),
        notes=(
            f"chosen: {chosen.engine} {chosen.precision}",
            f"{needed / 1e9:.2f} GFLOP a row, peak {peak / 1e12:.1f} TFLOP/s",
        ),
    )


def _flops(encoder: Any, one: list[np.ndarray]) -> int:
    """Operations of one row, two for a multiplication with its addition, as torch counts them."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from pipeline.encoders.engine.engines import device

    batch = [torch.from_numpy(array).to(device()) for array in encoder.collate(one)]
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        encoder.network(*batch)
    return int(counter.get_total_flops())


def _seconds(encoder: Any, inputs: list[Any]) -> float:
    begin = time.perf_counter()
    encoder.embed(inputs)
    return time.perf_counter() - begin
