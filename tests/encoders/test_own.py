from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from pipeline.config import Config
from pipeline.encoders import Encoder, make
from pipeline.encoders.audio.kinds.own import OwnAudio
from pipeline.encoders.image.kinds.own import OwnImage
from pipeline.encoders.own import find
from pipeline.encoders.text.kinds.own import OwnText
from pipeline.errors import ConfigError, MediaError
from tests.documents import block
from tests.packages import upgrade
from tests.text_items import item, one_by_one, unit, vectors

EXAMPLE = block("own encoder")
SETTINGS = block("own encoder's yaml")
# The same without settings of its own, for the kind `own`.
PLAIN = EXAMPLE.replace("settings.width", 'settings.options.get("width", 512)')
Install = Callable[..., Path]
GROUP = "[medley.encoders]\n"
ACME = GROUP + "acme = acme_encoders:Trigrams\n"
TRIGRAMS = GROUP + "acme_trigrams = acme_encoders:Trigrams\n"


@pytest.mark.parametrize("own", [False, True])
def test_the_example_of_the_readme_encodes_text(install: Install, own: bool) -> None:
    install("acme_encoders", PLAIN if own else EXAMPLE, TRIGRAMS)
    chosen = {"text": {"encoder": "own", "entry_point": "acme_trigrams", "options": {"width": 256}}}
    config = Config.model_validate({"extract": chosen} if own else yaml.safe_load(SETTINGS))
    encoder = make(config, "text")
    encoder.load()
    texts = ["quiet harbour at night", "quite harbor at nigth", "a loud and crowded street"]
    rows = vectors(encoder, texts)
    assert rows.shape == (3, encoder.width) == (3, 256)
    assert rows.dtype == np.float32
    alike = unit(rows) @ unit(rows).T
    assert alike[0, 1] > alike[0, 2] + 0.2
    np.testing.assert_array_equal(rows, one_by_one(encoder, texts))
    with pytest.raises(MediaError, match="no text"):
        encoder.decode(item(" "))


def test_a_kind_of_an_installed_package_has_settings_of_its_own_and_its_version_counts(install: Install) -> None:
    install("acme_encoders", EXAMPLE, TRIGRAMS)

    def made(**settings: object) -> Encoder:
        chosen = {"encoder": "acme_trigrams", **settings}
        return make(Config.model_validate({"extract": {"text": chosen}}), "text")

    assert made().identity != made(width=64).identity
    assert made().identity == made(max_error_rate=0.5).identity
    with pytest.raises(ValidationError, match=r"allowed here: .*width"):
        made(widht=3)
    with pytest.raises(ValidationError, match="did you mean acme_trigrams"):
        Config.model_validate({"extract": {"text": {"encoder": "acme_trigram"}}})


def test_the_example_needs_at_most_thirty_lines_of_code() -> None:
    assert sum(1 for line in EXAMPLE.splitlines() if line.strip()) <= 30


def test_package_version_and_options_make_another_encoder(install: Install) -> None:
    install("acme_encoders", PLAIN, ACME)
    plain = find(OwnText(entry_point="acme")).identity
    assert find(OwnText(entry_point="acme", max_error_rate=0.9)).identity == plain
    assert find(OwnText(entry_point="acme", options={"width": 64})).identity != plain
    assert find(OwnText(entry_point="acme", template="{text}")).identity != plain


def test_the_same_code_in_another_version_is_another_encoder(install: Install) -> None:
    site = install("acme_encoders", PLAIN, ACME)
    before = find(OwnText(entry_point="acme")).identity
    upgrade(site)
    assert find(OwnText(entry_point="acme")).identity != before


IMAGE = """
import numpy as np
from pipeline.encoders import Encoder
class Bytes(Encoder):
    identity, model, width, batch_cost, window = "bytes", "bytes", 256, 8, 8
    def __init__(self, settings):
        super().__init__()
        self.scale = settings.options["scale"]
    def load(self): pass
    def decode(self, raw): return [np.bincount(np.frombuffer(raw, np.uint8), minlength=256)]
    def encode(self, parts): return np.stack(parts).astype(np.float32) * self.scale
class Bare(Encoder):
    model = "x"
    def __init__(self, settings): super().__init__()
    load = decode = encode = None
class Unprepared(Bytes):
    def __init__(self, settings): pass
class Abstract(Encoder): pass
thing = 3
"""
NAMES = ("Bytes", "Bare", "Unprepared", "Abstract", "thing", "Gone")
POINTS = GROUP + "".join(f"{name.lower()} = own_image:{name}\n" for name in NAMES)


@pytest.mark.parametrize("settings", [OwnImage, OwnAudio])
def test_an_encoder_of_media_takes_its_options(install: Install, settings: type[OwnImage] | type[OwnAudio]) -> None:
    install("own_image", IMAGE, POINTS)
    encoder = find(settings(entry_point="bytes", options={"scale": 2}))
    encoder.load()
    assert encoder.embed([encoder.decode(b"\x01\x01\x03")])[0, :4].tolist() == [0, 4, 0, 2]
    assert encoder.key == encoder.identity


@pytest.mark.parametrize(
    ("point", "said"),
    [
        ("bare", "own_image:Bare does not set identity, batch_cost, window"),
        ("unprepared", r"own_image:Unprepared does not call super\(\).__init__\(\)"),
        ("abstract", "own_image:Abstract cannot be made .TypeError: .*Abstract"),
        ("thing", "own_image:thing is not a class derived from pipeline.encoders.base.Encoder"),
        ("gone", "own_image:Gone cannot be imported .AttributeError"),
        ("bytes", "own_image:Bytes cannot be made .KeyError: 'scale'"),
    ],
)
def test_what_is_no_encoder_is_refused_in_one_sentence(install: Install, point: str, said: str) -> None:
    install("own_image", IMAGE, POINTS)
    with pytest.raises(ConfigError, match=f"^{point} of own_image 1.0: {said}") as refused:
        find(OwnImage(entry_point=point))
    assert "\n" not in str(refused.value)


def test_a_package_that_raises_at_import_is_refused_in_one_sentence(install: Install) -> None:
    install("broken_acme", "raise RuntimeError('needs a licence\\nand more')", GROUP + "broken = broken_acme:X")
    with pytest.raises(ConfigError, match=r"broken_acme:X cannot be imported \(RuntimeError: needs a licence\)$"):
        find(OwnText(entry_point="broken"))


def test_an_image_encoder_is_refused_as_a_text_encoder(install: Install) -> None:
    install("own_image", IMAGE, POINTS)
    with pytest.raises(ConfigError, match="own_image:Bytes encodes no text; it needs TemplateEncoder as its base"):
        find(OwnText(entry_point="bytes", options={"scale": 1}))


def test_an_unknown_name_is_answered_with_those_that_are_there(install: Install) -> None:
    with pytest.raises(ConfigError, match="no entry_point is called 'nothing'"):
        find(OwnText(entry_point="nothing"))
    install("acme_encoders", PLAIN, ACME + "beta = acme_encoders:Trigrams")
    with pytest.raises(ConfigError, match=r"did you mean acme. there are .*acme, beta"):
        find(OwnText(entry_point="acne"))


def test_one_name_in_two_packages_is_refused(install: Install) -> None:
    install("acme_encoders", PLAIN, ACME)
    install("acme_encoders", PLAIN, ACME, version="2.0", name="rival")
    with pytest.raises(ConfigError, match=r"of acme_encoders 1\.0 and rival 2\.0; uninstall all but one"):
        find(OwnText(entry_point="acme"))
