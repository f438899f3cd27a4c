"""Passwords kept out of messages, and out of what is shown of settings."""

from __future__ import annotations

import re
from urllib.parse import unquote

# In a URI's query, or among a connection string's keys.
KEY = re.compile(r"password\s*=\s*('(?:\\.|[^'])*'|[^\s&]+)", re.IGNORECASE)
# Where a URI is cut apart, rightly or wrongly: a server may quote what it took for a host or a port.
CUTS = re.compile(r"[@:/?#%&=\s'\\]+")
FEWEST_LETTERS = 3
# Who signs in to a URI, and what stands after a word that names a secret, in a connection string, a query or SQL.
USER_INFO = re.compile(r"://\S*@")
NAMED = (
    r"(?:[\w-]*(?:password|passwd|passphrase|secret|credentials?)"
    r"|(?:[\w-]+[_-])?(?:pwd|token|signature|api[_-]?key|access[_-]?key))(?:[_-][\w-]*)?"
)
SECRET = re.compile(
    rf"\b({NAMED}['\"]?(?:\s*[=:]\s*|\s+(?=')))('(?:\\.|[^'])*'|\"(?:\\.|[^\"])*\"|[^\s&;,]+)", re.IGNORECASE
)


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


def without_secrets(name: str, value: str) -> str:
    """The value of a parameter, `***` where the name says that it is secret; of others what they hold of secrets."""
    if re.fullmatch(NAMED, name, re.IGNORECASE):
        return "***"
    return SECRET.sub(r"\1***", USER_INFO.sub("://***@", value))
