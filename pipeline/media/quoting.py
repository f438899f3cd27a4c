"""What a reason quotes of a file, a path or a library's error: one printable line, of bounded length."""

from __future__ import annotations

MAX_CHARACTERS = 120


def quoted(text: str) -> str:
    """One printable line of at most MAX_CHARACTERS: what does not print is shown escaped, what is too long is cut."""
    # An escape is longer than what it stands for: the beginning is all that can be seen.
    line = "".join(map(_printable, text[: MAX_CHARACTERS + 1]))
    return line if len(line) <= MAX_CHARACTERS else line[: MAX_CHARACTERS - 1] + "…"


def _printable(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()
