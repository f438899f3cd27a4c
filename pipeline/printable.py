"""Text of others, such as titles and ids, made fit for a terminal and a log: shown, not obeyed.

What would move the cursor, change colours, turn the reading direction or begin a line of its own is written as Python
would escape it. Joiners stay, as scripts and emoji need them.
"""

from __future__ import annotations

import logging
import unicodedata

# Control, format and surrogate characters, and separators of lines and paragraphs, by Unicode's category.
OBEYED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"


def printable(text: object) -> str:
    """A value's text in one line in which nothing is obeyed by a terminal."""
    line = str(text)
    return line if line.isprintable() else "".join(map(_shown, line))


def _shown(character: str) -> str:
    if character in JOINERS or unicodedata.category(character) not in OBEYED:
        return character
    return character.encode("unicode_escape").decode("ascii")


class PrintableFormatter(logging.Formatter):
    """Log lines whose messages are `printable`; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """See the base class."""
        return printable(super().formatMessage(record))
