"""Text of others is shown, not obeyed."""

from __future__ import annotations

import logging

import pytest

from pipeline.printable import PrintableFormatter, printable

EVIL = "\x1b]0;owned\x07\x1b[31mred\u202etxt.exe\r\nnext\u2028line\x9b2J\u2066a"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Für Élise — 歌\u3000二", "Für Élise — 歌\u3000二"),
        ("👩\u200d👧 \u0645\u06cc\u200c\u062e", "👩\u200d👧 \u0645\u06cc\u200c\u062e"),
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("a\x9b2J\x7f", r"a\x9b2J\x7f"),
        ("one\r\ntwo\tthree\u2028four", r"one\r\ntwo\tthree\u2028four"),
        ("\u202egpj\u2069\u200f\ufeff", r"\u202egpj\u2069\u200f\ufeff"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped_and_nothing_else(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_a_line_of_the_log_is_one_line_and_a_traceback_keeps_its_own() -> None:
    record = logging.LogRecord("medley", logging.INFO, "", 0, "item %s", (EVIL,), None)
    assert PrintableFormatter("%(message)s").format(record) == f"item {printable(EVIL)}"
    record.exc_text = "Traceback:\n  line"
    assert PrintableFormatter("%(message)s").format(record).splitlines()[1:] == ["Traceback:", "  line"]
