"""Where weights are: an installed package, a local path, or a model hub; checked by sha256, never unpickled."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config.shared import GLOVE, LITE0, MINILM, SMOLLM2, USE_MULTILINGUAL, USE_TOKENS
from pipeline.errors import WeightsError
from pipeline.storage.files import sha256_of
from pipeline.workspace import digest

if TYPE_CHECKING:
    import torch

# The sha256 of the weights that install from the package registry: a changed file is refused before it is loaded.
KNOWN = {
    MINILM: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    LITE0: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    GLOVE: "2d85b9db2ad8ddeb2e07474af9c9fb45a925d21c40878d4b365d189f13eb5a15",
    SMOLLM2: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    USE_MULTILINGUAL: "0db566fd0af82cbf9f3a7eac3920ede5fb784a6882398563ca9b1bbd66fb37c9",
    USE_TOKENS: "994fcc2e8ad0fe2c802b68fa0de9f058403f2b1656c2d33b6a94146b0c5925e9",
}
# The first that is there counts: a folder may hold the same weights twice, and safetensors are what is loaded.
WEIGHT_FILES = ("model.safetensors", "*.safetensors", "pytorch_model.bin", "*.bin", "*.pth", "*.pt", "*.npy", "*.gguf")
# A folder's other files that decide a vector: the network's shape, the tokenizer, the preprocessing, the pooling.
MEANING_FILES = ("*.json", "*.txt", "*.model", "*.parquet", "1_Pooling/config.json")
# transformers' kinds of models that project two modalities into one space.
JOINT_MODELS = ("clip", "siglip", "siglip2", "clap", "align", "altclip", "chinese_clip")


def locate(weights: str) -> Path:
    """The folder or file of weights, on this machine.

    Raises WeightsError if it is not there and cannot be fetched.
    """
    kind, _, rest = weights.partition(":")
    if kind == "package":
        return _in_package(rest)
    if kind == "path":
        path = Path(rest)
        if not path.exists():
            raise WeightsError(f"weights {weights}: {path} does not exist")
        return path
    return _from_hub(weights)


def files_of(path: Path, named: str = "") -> list[Path]:
    """The weights' files of a folder, or the file itself; of a folder, `named` if given.

    Raises WeightsError if there is none.
    """
    if path.is_file():
        return [path]
    for pattern in [named] if named else WEIGHT_FILES:
        if matches := sorted(path.glob(pattern)):
            return matches
    wanted = named or f"none of {', '.join(WEIGHT_FILES)}"
    raise WeightsError(f"weights {path}: the folder holds {'no ' if named else ''}{wanted}")


def check(weights: str, path: Path, sha256: str = "", named: str = "") -> str:
    """A digest of weights at a path, for the encoder's key, after comparing their file's sha256 with the one expected.

    A folder counts with every file that decides a vector: another tokenizer beside the same weights is another encoder.
    Raises WeightsError if the sha256 differs, or a folder holds no weights.
    """
    files = files_of(path, named)
    digests = [sha256_of(file) for file in files]
    expected = sha256 or KNOWN.get(weights, "")
    if expected and expected not in digests:
        raise WeightsError(
            f"weights {weights}: sha256 of {files[0].name} is {digests[0]}, expected {expected}; install them again"
        )
    if path.is_file():
        return digests[0]
    beside = sorted({other for pattern in MEANING_FILES for other in path.glob(pattern)})
    return digest(*digests, [(str(other.relative_to(path)), sha256_of(other)) for other in beside])


def is_joint(folder: Path) -> bool:
    """Whether a transformers folder holds a model with one space for two modalities."""
    try:
        return dict(json.loads((folder / "config.json").read_text("utf-8"))).get("model_type") in JOINT_MODELS
    except (OSError, ValueError, TypeError):
        return False


def tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a weights file, or of every such file of a folder.

    Raises WeightsError for anything but safetensors or a plain state dict.
    """
    import torch
    from safetensors.torch import load_file

    merged: dict[str, torch.Tensor] = {}
    for file in files_of(path):
        try:
            safe = file.suffix == ".safetensors"
            state = load_file(file) if safe else torch.load(file, map_location="cpu", weights_only=True)
            odd = [name for name, value in state.items() if not isinstance(value, torch.Tensor)]
        except Exception as error:
            raise WeightsError(
                f"weights {file}: not safetensors or a plain state dict ({type(error).__name__})"
            ) from None
        if odd:
            raise WeightsError(f"weights {file}: not a plain state dict, {odd[0]} in it is no tensor; save that alone")
        merged |= state
    return merged


def fill(network: torch.nn.Module, path: Path, described: str) -> None:
    """Loads weights by name; where every name differs, by order, if the count and every shape agree.

    Raises WeightsError if they do not fit the network, which `described` names.
    """
    own, stored = network.state_dict(), tensors(path)
    if set(own) != set(stored):
        if [t.shape for t in own.values()] != [t.shape for t in stored.values()]:
            raise WeightsError(f"weights {path} do not fit {described}")
        stored = dict(zip(own, stored.values(), strict=True))
    try:
        network.load_state_dict(stored)
    except RuntimeError as error:
        raise WeightsError(f"weights {path} do not fit {described} ({str(error).splitlines()[-1].strip()})") from None


def reason(error: Exception) -> str:
    """The first line of a library's error, or its type where it has no message."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]


def _in_package(name: str) -> Path:
    package, _, below = name.partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(f"weights package:{name}: package {package} is not installed; `make .venv` installs it")
    path = Path(next(iter(spec.submodule_search_locations))) / below
    if not path.exists():
        raise WeightsError(f"weights package:{name}: {package} is installed but holds no {below}")
    return path


def _from_hub(weights: str) -> Path:
    from huggingface_hub import snapshot_download

    name, _, commit = weights.partition("@")
    try:
        patterns = [*MEANING_FILES, "*.safetensors", "*.gguf"]
        return Path(snapshot_download(name, revision=commit, allow_patterns=patterns))
    except Exception as error:  # the hub's client raises a dozen kinds, for no network, no such name, no permission
        raise WeightsError(
            f"weights {weights}: the model hub does not answer or has no such model ({type(error).__name__}); download "
            "it elsewhere and give the folder as path:FOLDER"
        ) from None
