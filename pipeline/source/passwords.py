"""Passwords kept out of messages."""

from __future__ import annotations

import re
from urllib.parse import unquote

# In a URI's query, or among a connection string's keys.
KEY = re.compile(r"password\s*=\s*('(?:\\.|[^'])*'|[^\s&]+)", re.IGNORECASE)
# Where a URI is cut apart, rightly or wrongly: a server may quote what it took for a host or a port.
CUTS = re.compile(r"[@:/?#%&=\s'\\]+")
FEWEST_LETTERS = 3


def without_password(message: str, uri: str) -> str:
    """A message in which neither a connection's URI stands, nor its password or a part of that; whatever the scheme."""
    user, at, _ = uri.partition("://")[2].rpartition("@")
    passwords = [user.partition(":")[2]] if at else []
    passwords += [found.strip("'") for found in KEY.findall(uri)]
    parts = {part for password in passwords for part in (password, unquote(password), *CUTS.split(password))}
    hidden = message.replace(uri, "the URI") if uri else message
    for part in sorted(parts, key=len, reverse=True):
        if len(part) >= FEWEST_LETTERS or (part in passwords and part):
            hidden = hidden.replace(part, "***")
    return hidden
