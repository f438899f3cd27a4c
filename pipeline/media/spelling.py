"""How the path of a media file may have been written."""

from __future__ import annotations

import re
import unicodedata
import urllib.parse

ADDRESS = re.compile(r"\s*([a-z][a-z0-9+.-]*://|data:)", re.IGNORECASE)


def spellings(relative: str) -> list[str]:
    """A path as it is, then percent-decoded, with slashes for backslashes, stripped, composed or decomposed Unicode."""
    spellings = [relative]
    for respell in (urllib.parse.unquote, _slashed, str.strip):
        spellings += [respell(path) for path in spellings]
    forms = [unicodedata.normalize(form, path) for path in spellings for form in ("NFC", "NFD")]
    return list(dict.fromkeys([*spellings, *forms]))


def _slashed(path: str) -> str:
    return path.replace("\\", "/")
