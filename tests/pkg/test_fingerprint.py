"""Fingerprint directories: what is trusted, and that revoked beats it."""

from __future__ import annotations

import pytest

from pipeline.errors import (
    FingerprintError,
    RevokedFingerprintError,
    UntrustedFingerprintError,
)
from pipeline.pkg.fingerprint import FingerprintSet, parse_fingerprint

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


def file(fingerprint: str, function: str = "sha256") -> bytes:
    return f'function: "{function}"\nfingerprint: "{fingerprint}"\n'.encode()


PORTS = b"""
function: sha256
fingerprint: "b0170035af3acc5f3f3ae1859dc717101b4e6c1d0a794ad554928ca0cbb2f438"
"""


@pytest.mark.parametrize("comment", [b"", b"# $FreeBSD$\n", b"/* a key */\n"])
def test_reads_the_files_of_freebsd(comment: bytes) -> None:
    """With a blank line first, and in older releases with an RCS comment; the function is bare."""
    want = "b0170035af3acc5f3f3ae1859dc717101b4e6c1d0a794ad554928ca0cbb2f438"
    assert parse_fingerprint(comment + PORTS) == want


@pytest.mark.parametrize("raw", [b"", b"\n", b"# kept for git\n"])
def test_empty_file_counts_for_nothing(raw: bytes) -> None:
    assert parse_fingerprint(raw) is None


def test_case_does_not_matter() -> None:
    """A revocation in capital letters is one."""
    assert parse_fingerprint(b'FUNCTION: "SHA256"\nFingerprint: "' + b"A" * 64 + b'"') == A


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (file(A, "sha1"), "function: got 'sha1', want sha256"),
        (file("a" * 63), "fingerprint: got 'aaa"),
        (file("g" * 64), "want 64 hexadecimal digits"),
        (b'fingerprint: "' + A.encode() + b'"', "function: missing"),
        (b'function: "sha256"', "fingerprint: missing"),
        (b'function: sha256; fingerprint: [ "x" ]', "fingerprint: got a list, want a string"),
        (file(A) + file(B), "function: got a list, want a string"),
        (b".include /etc/passwd", "macros are not accepted"),
        (b"\xff", "not UTF-8"),
    ],
)
def test_other_content_is_an_error(raw: bytes, message: str) -> None:
    with pytest.raises(FingerprintError) as caught:
        parse_fingerprint(raw)
    assert message in str(caught.value)


def test_error_names_the_file() -> None:
    with pytest.raises(FingerprintError, match=r"^revoked/old, line 1, column 1: got '}'"):
        FingerprintSet.from_files({"a": file(A)}, {"old": b"}"})


def test_unreadable_revocation_is_not_passed_over() -> None:
    with pytest.raises(FingerprintError, match="revoked/b, function"):
        FingerprintSet.from_files({"a": file(A)}, {"b": file(A, "sha512")})


def test_nothing_trusted_is_an_error() -> None:
    with pytest.raises(FingerprintError, match="trusted: got no fingerprint"):
        FingerprintSet.from_files({".keep": b""}, {"b": file(B)})


def test_trusted_signers_come_back() -> None:
    keys = FingerprintSet.from_files({"a": file(A), "b": file(B)}, {})
    assert keys.verify_signers([C, A]) == {A}
    assert keys.verify_signers([A, B]) == {A, B}


def test_revoked_fingerprint_beats_trusted() -> None:
    keys = FingerprintSet.from_files({"a": file(A)}, {"a": file(A.upper())})
    with pytest.raises(RevokedFingerprintError, match=f"signed with key {A}, which is revoked"):
        keys.verify_signers([A])


def test_one_revoked_signer_spoils_the_others() -> None:
    keys = FingerprintSet.from_files({"a": file(A)}, {"b": file(B)})
    with pytest.raises(RevokedFingerprintError):
        keys.verify_signers([A, B])


def test_untrusted_signer_is_named_with_those_that_are() -> None:
    keys = FingerprintSet.from_files({"a": file(A), "b": file(B)}, {})
    with pytest.raises(UntrustedFingerprintError) as caught:
        keys.verify_signers([C])
    assert str(caught.value) == f"signed with key {C}, want one of key {A}, key {B}"
    assert caught.value.hint is not None
