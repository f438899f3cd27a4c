"""Images by a timm network: its pooled features before the classifier."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from pipeline.config import ImageEncoder
from pipeline.encoders.base import Encoder, Text
from pipeline.encoders.weights import WEIGHT_FILES, check, locate
from pipeline.errors import MediaError, WeightsError
from pipeline.media import open_image
from pipeline.workspace import digest

if TYPE_CHECKING:
    import torch

VERSION = 1


class TimmImage(Encoder):
    """Encodes a picture: `decode` gives (3, side, side) float32, resized, centre-cropped and normalised."""

    def __init__(self, settings: ImageEncoder) -> None:
        self.settings = settings
        self.path = locate(settings)
        self.model = f"{settings.model} ({settings.weights})"
        self.batch_cost = settings.batch_rows
        self.window = 4 * settings.batch_rows
        meaning = settings.model_dump(exclude={"batch_rows", "max_bytes", "max_error_rate", "weights", "sha256"})
        self.key = digest("timm", VERSION, meaning, check(settings, self.path))

    def load(self) -> None:
        """Builds the network and its preprocessing, and fills in the weights. Raises WeightsError."""
        import timm
        import torch
        from timm.data import resolve_data_config

        try:
            network = timm.create_model(self.settings.model, pretrained=False)
        except RuntimeError as error:
            raise WeightsError(f"extract.image.model {self.settings.model}: {error}") from None
        _fill(network, _tensors(self.path), self.settings)
        network.reset_classifier(0)  # type: ignore[operator]
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.network = network.eval().to(self.device).to(memory_format=torch.channels_last)
        self.width = int(network.num_features)  # type: ignore[arg-type]
        data = resolve_data_config({}, model=network)
        self.side = int(data["input_size"][-1])
        self.resized = round(self.side / data["crop_pct"])
        self.filter = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}.get(
            data["interpolation"], Image.Resampling.BICUBIC
        )
        self.mean = np.asarray(data["mean"], dtype=np.float32)
        self.std = np.asarray(data["std"], dtype=np.float32)

    def decode(self, raw: bytes | Text) -> np.ndarray:
        """(3, side, side) float32. Raises MediaError if the picture cannot be read."""
        if not isinstance(raw, bytes):
            raise MediaError("no image")
        picture = open_image(raw, self.settings.max_pixels, draft=(2 * self.resized, 2 * self.resized))
        scale = self.resized / min(picture.size)
        width, height = (max(self.side, round(length * scale)) for length in picture.size)
        left, top = (width - self.side) // 2, (height - self.side) // 2
        # Resizing the kept square alone bounds the memory that a very long picture takes.
        box = (left / scale, top / scale, (left + self.side) / scale, (top + self.side) / scale)
        box = (box[0], box[1], min(box[2], picture.width), min(box[3], picture.height))
        pixels = np.asarray(picture.resize((self.side, self.side), self.filter, box=box), dtype=np.float32)
        return np.ascontiguousarray(((pixels / 255 - self.mean) / self.std).transpose(2, 0, 1))

    def embed(self, batch: Sequence[np.ndarray]) -> np.ndarray:
        """Pooled features: (n, width) float32."""
        import torch

        pixels = torch.from_numpy(np.stack(batch)).to(self.device, memory_format=torch.channels_last)
        with torch.inference_mode():
            return np.asarray(self.network(pixels).float().cpu())


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    import torch
    from safetensors.torch import load_file

    file = path if path.is_file() else next(path / name for name in WEIGHT_FILES if (path / name).is_file())
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        tensors: dict[str, torch.Tensor] = torch.load(file, map_location="cpu", weights_only=True)
        return tensors
    except Exception as error:
        raise WeightsError(f"weights {file}: not safetensors or a plain state dict ({type(error).__name__})") from None


def _fill(network: torch.nn.Module, tensors: dict[str, torch.Tensor], settings: ImageEncoder) -> None:
    """Loads by name; where every name differs, by order, if the count and every shape agree."""
    own = network.state_dict()
    if set(own) != set(tensors):
        same_shapes = [t.shape for t in own.values()] == [t.shape for t in tensors.values()]
        if not same_shapes:
            raise WeightsError(f"weights {settings.weights} do not fit extract.image.model {settings.model}")
        tensors = dict(zip(own, tensors.values(), strict=True))
    network.load_state_dict(tensors)
