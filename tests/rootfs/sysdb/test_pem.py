"""PEM files as OpenSSL reads them."""

from __future__ import annotations

import base64
from typing import Final

import pytest

from pipeline.errors import FormatError
from pipeline.rootfs.sysdb.pem import iter_pem_certificates, write_pem_certificate

ONE: Final = write_pem_certificate(b"one")
TWO: Final = write_pem_certificate(b"two" * 50)


def contents(raw: bytes) -> list[bytes]:
    return list(iter_pem_certificates(raw))


def block(label: str, body: bytes, *, end: str | None = None) -> bytes:
    return f"-----BEGIN {label}-----\n".encode() + body + f"-----END {end or label}-----\n".encode()


def test_written_block_has_64_columns() -> None:
    lines = TWO.split(b"\n")
    assert [len(line) for line in lines[1:-2]] == [64, 64, 64, 8]
    assert lines[0] == b"-----BEGIN CERTIFICATE-----"
    assert lines[-2:] == [b"-----END CERTIFICATE-----", b""]


def test_several_blocks_and_the_text_around_them() -> None:
    assert contents(b"Certificate:\n  Data\n" + ONE + b"text\n" + TWO) == [b"one", b"two" * 50]


def test_file_without_block_is_empty() -> None:
    assert contents(b"") == contents(b"hello\n-----BEGIN CERTIFICATE----\n") == []


def test_last_line_may_lack_its_newline() -> None:
    assert contents(ONE.rstrip(b"\n")) == [b"one"]


def test_crlf_and_white_space_at_line_ends_are_fine() -> None:
    assert contents(TWO.replace(b"\n", b" \t\r\n")) == [b"two" * 50]


def test_lines_of_any_length_are_fine() -> None:
    text = base64.b64encode(b"two" * 50)
    for columns in (1, 76, 1000):
        body = b"".join(text[i : i + columns] + b"\n" for i in range(0, len(text), columns))
        assert contents(block("CERTIFICATE", body)) == [b"two" * 50]


def test_old_label_is_a_certificate_too() -> None:
    assert contents(block("X509 CERTIFICATE", b"b25l\n")) == [b"one"]


@pytest.mark.parametrize("label", ["PUBLIC KEY", "TRUSTED CERTIFICATE", "CERTIFICATE REQUEST", ""])
def test_other_blocks_are_passed_over(label: str) -> None:
    assert contents(block(label, b"b25l\n") + ONE) == [b"one"]


def test_headers_of_other_blocks_are_passed_over() -> None:
    key = block("RSA PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED\nDEK-Info: x,y\n\nb25l\n")
    assert contents(key + ONE) == [b"one"]


@pytest.mark.parametrize(
    "damaged",
    [
        block("CERTIFICATE", b"b25l!\n"),
        block("CERTIFICATE", b"b25\n"),
        block("CERTIFICATE", b"b2==5l\n"),
        block("CERTIFICATE", b"b25l\n", end="CERTIFICAT"),
        block("PUBLIC KEY", b"b25\n"),
        block("PRIVATE KEY", b"Proc-Type: 4\nb25l\n"),
        b"-----BEGIN CERTIFICATE-----\nb25l\n-----END CERTIFICATE----\n",
    ],
)
def test_damaged_block_ends_the_file(damaged: bytes) -> None:
    assert contents(ONE + damaged + TWO) == [b"one"]


def test_block_without_end_ends_the_file() -> None:
    assert contents(ONE + b"-----BEGIN CERTIFICATE-----\nb25l\n") == [b"one"]


@pytest.mark.parametrize("body", [b"A: b\n\nb25l\n", b"\nb25l\n", b"b25l\n\n"])
def test_header_lines_of_a_certificate_are_refused(body: bytes) -> None:
    with pytest.raises(FormatError, match="got header lines in a certificate block, want base64"):
        contents(block("CERTIFICATE", body))


def test_block_within_a_block_is_refused() -> None:
    with pytest.raises(FormatError, match=r"got b'-----BEGIN CERT.*' within a CERTIFICATE block"):
        contents(b"-----BEGIN CERTIFICATE-----\nb25l\n" + ONE)
