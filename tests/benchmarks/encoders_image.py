"""Pictures: ResNet-50 and EfficientNet-lite0 from JPEG files, beside plain loops of torch.

ResNet-50's published weights are used where torch's cache holds them; else it is drawn from a seed, which is as fast.
Vectors of such a network all point nearly the same way, so a note gives their cosine less their mean, which is strict.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.encoders_text import compared, trials
from tests.benchmarks.harness import DATA, Beside, Case, beside, unit

POSTERS = DATA / "movies" / "posters"
MODULE = "tests.benchmarks.encoders_image"
OURS = "tests.benchmarks.ours:image"
# A plain loop takes so many seconds that it is timed on every sixth picture.
EVERY = 6


def cases(rows: int, rounds: int) -> list[Case]:
    """Every case of pictures. Raises FileNotFoundError, with a reason, where there are no posters."""
    files = posters(rows)
    with tempfile.TemporaryDirectory() as folder:
        path, told = resnet50_weights(Path(folder))
        return [*_resnet50(path, told, files, rounds), *_lite0(files, rounds)]


def posters(rows: int) -> list[str]:
    """Names of poster files."""
    if not POSTERS.is_dir():
        raise FileNotFoundError(f"{POSTERS} is not there: set MEDLEY_TEST_DATA to the folder that holds the data sets")
    return sorted(path.name for path in POSTERS.glob("*.jpg"))[:rows]


def _resnet50(path: Path, told: str, files: list[str], rounds: int) -> list[Case]:
    settings = {"encoder": "torchvision", "model": "resnet50", "weights": f"path:{path}"}
    ours = {"folder": str(POSTERS), "files": files, "settings": settings}
    loop = {"weights": str(path), "files": files, "every": EVERY}
    found = beside(
        {
            "ours": (f"{OURS}:run", ours),
            "forward pass alone": (f"{OURS}:forward", ours),
            "torch loop, batch 1": (f"{MODULE}:resnet50_loop:one", loop),
            "torch loop, batch 32": (f"{MODULE}:resnet50_loop:batch", loop),
        },
        rounds,
    )
    name = f"image, ResNet-50 ({told})"
    return [
        compared(found, (name, "ours", "torch loop, batch 1"), 4, 0.999),
        compared(found, (f"{name}, as a framework runs it", "ours", "torch loop, batch 1"), 20, 0.999),
        compared(found, (f"{name}, as a framework runs it", "ours", "torch loop, batch 32"), 8, 0.999),
        _end_to_end(found, name),
        *trials(found, "ResNet-50", ("ours",)),
    ]


def _end_to_end(found: Beside, name: str) -> Case:
    case = compared(found, (f"{name}, end to end", "ours", "forward pass alone"), 0.85, 0.9999)
    if case.failed:
        return case
    ours, exact = (unit(found.runs[way][-1].vectors.astype(np.float32)) for way in ("ours", "torch loop, batch 1"))
    others = float((ours.sum(0) @ ours.sum(0) - len(ours)) / (len(ours) * (len(ours) - 1)))
    centre = exact.mean(0)
    strict = float((unit(ours[::EVERY] - centre) * unit(exact - centre)).sum(1).mean())
    note = f"mean cosine of different pictures {others:.4f}; to torch in fp32, less the mean vector, {strict:.4f}"
    return replace(case, notes=(*case.notes, note))


def _lite0(files: list[str], rounds: int) -> list[Case]:
    ours = {"folder": str(POSTERS), "files": files}
    found = beside(
        {
            "ours": (f"{OURS}:run", ours | {"settings": {}}),
            "ours, int8 at any cosine": (f"{OURS}:run", ours | {"settings": {"precision": "int8", "min_cosine": 0}}),
            "torch loop, batch 1": (f"{MODULE}:lite0_loop:one", {"files": files, "every": EVERY}),
        },
        rounds,
    )
    name = "image, EfficientNet-lite0"
    return [
        compared(found, (f"{name}, default settings", "ours", "torch loop, batch 1"), None, 0.999),
        compared(found, (f"{name}, int8 at any cosine", "ours, int8 at any cosine", "torch loop, batch 1"), None, None),
        *trials(found, "EfficientNet-lite0", ("ours", "ours, int8 at any cosine")),
    ]


def resnet50_weights(folder: Path) -> tuple[Path, str]:
    """The published weights, or seeded ones written to a folder; and which."""
    import torch
    from torchvision.models import ResNet50_Weights, resnet50

    published = Path(torch.hub.get_dir()) / "checkpoints" / ResNet50_Weights.DEFAULT.url.rsplit("/", 1)[1]
    if published.is_file():
        return published, "published weights"
    torch.manual_seed(0)
    torch.save(resnet50(weights=None).state_dict(), folder / "resnet50.pth")
    return folder / "resnet50.pth", "random weights"


def resnet50_loop(weights: str, files: list[str], every: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """torchvision's network and its weights' own transforms, in fp32, pictures opened one by one."""
    import torch
    from torchvision.models import ResNet50_Weights, resnet50

    network = resnet50(weights=None)
    network.load_state_dict(torch.load(weights, weights_only=True))
    network.fc = torch.nn.Identity()
    return _loops(network.eval(), ResNet50_Weights.DEFAULT.transforms(), files[::every]), {"every": every}


def lite0_loop(files: list[str], every: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """timm's network and the transform that timm makes for it."""
    from timm.data import create_transform, resolve_data_config

    from pipeline.encoders.image.backbones import build_backbone
    from pipeline.encoders.image.kinds.timm import TimmImage
    from pipeline.encoders.weights import locate

    settings = TimmImage()
    network = build_backbone("timm", settings.model, locate(settings.weights))
    transform = create_transform(**resolve_data_config({}, model=network))
    return _loops(network, transform, files[::every]), {"every": every}


def _loops(network: Any, transform: Any, files: list[str]) -> dict[str, Callable[[], np.ndarray]]:
    import torch

    def by(rows: int, names: list[str]) -> np.ndarray:
        vectors = []
        with torch.inference_mode():
            for at in range(0, len(names), rows):
                batch = torch.stack([transform(_rgb(name)) for name in names[at : at + rows]])
                vectors.append(network(batch).numpy())
        return np.concatenate(vectors)

    by(1, files[:1])
    return {"one": lambda: by(1, files), "batch": lambda: by(32, files), "probe": lambda: by(1, files[:8])}


def _rgb(name: str) -> Any:
    from PIL import Image

    return Image.open(POSTERS / name).convert("RGB")
