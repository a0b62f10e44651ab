"""The column `message`: libucl's JSON."""

from __future__ import annotations

import pytest

from pipeline.errors import DatabaseError
from pipeline.pkg.localdb_message import messages_text, parse_messages
from pipeline.pkg.manifest import Message


def _message(
    text: str, *, kind: str | None = None, minimum: str | None = None, maximum: str | None = None
) -> Message:
    return Message(text=text, kind=kind, minimum_version=minimum, maximum_version=maximum)


@pytest.mark.parametrize(
    ("messages", "column"),
    [
        ([], None),
        ([_message("plain")], '[{"message":"plain"}]'),
        ([_message("")], '[{"message":""}]'),
        ([_message(" \t\n\v\f\r")], '[{"message":""}]'),
        ([_message(" a b \n")], '[{"message":"a b"}]'),
        (
            [_message('\x01 \x07 \b \v \f \x1f \x7f \r \t "\\/ é😀 \ufffd.')],
            '[{"message":"\\uFFFD \\uFFFD \\b \\u000B \\f \\uFFFD \\uFFFD \\r \\t \\"\\\\/ é😀 \\uFFFD."}]',
        ),
        ([_message("$$ ${PREFIX} %%P")], '[{"message":"$$ ${PREFIX} %%P"}]'),
        ([_message("i", kind="install")], '[{"message":"i","type":"install"}]'),
        ([_message("r", kind="remove", minimum="1")], '[{"message":"r","type":"remove"}]'),
        (
            [_message("u", kind="upgrade", minimum='1 "a"', maximum="2")],
            '[{"message":"u","type":"upgrade","maximum_version":"2","minimum_version":"1 \\"a\\""}]',
        ),
        (
            [_message("a"), _message("b", kind="upgrade")],
            '[{"message":"a"},{"message":"b","type":"upgrade"}]',
        ),
    ],
)
def test_text_is_what_pkg_writes(messages: list[Message], column: str | None) -> None:
    """Seen in databases of pkg 2.3.1 to 2.8.4; only U+FFFD itself, which pkg writes raw, is escaped."""
    assert messages_text(messages) == column
    assert messages_text(parse_messages(column)) == column


def test_plain_text_is_one_message() -> None:
    """Before 1.11 pkg wrote the text alone."""
    assert parse_messages("two\nlines") == (_message("two\nlines"),)
    assert parse_messages("") == ()
    assert parse_messages(None) == ()


@pytest.mark.parametrize(
    ("column", "text"),
    [
        ("[", "message: not JSON"),
        ("[1]", r"message\[0\]: got an integer, want an object"),
        ("[{}]", r"message\[0\].message: missing"),
        ('[{"message":1}]', r"message\[0\].message: got an integer, want a string"),
        ('[{"message":"a\\u0000"}]', r"message\[0\].message: NUL in text"),
        ('[{"message":"a"},{"message":"b","type":"never"}]', r"message\[1\].type: got 'never'"),
        ('[{"message":"a","note":"b"}]', r"message\[0\]: unknown key 'note'"),
        ("[" * 100_000, "message: not JSON"),
    ],
)
def test_what_pkg_does_not_write_is_refused(column: str, text: str) -> None:
    """Each with its place."""
    with pytest.raises(DatabaseError, match=text):
        parse_messages(column)
