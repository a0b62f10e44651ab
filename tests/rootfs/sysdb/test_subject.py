"""Subject hashes, against those of `openssl x509 -subject_hash` (OpenSSL 3.0.19)."""

from __future__ import annotations

from typing import Final

import pytest

from pipeline.errors import FormatError
from pipeline.rootfs.sysdb.subject import certificate_der, subject_hash

COMMON_NAME: Final = bytes.fromhex("0603550403")
ORGANIZATION: Final = bytes.fromhex("060355040a")
COUNTRY: Final = bytes.fromhex("0603550406")
UMLAUTS: Final = "Größe ÄÖÜ"


def tlv(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    size = len(content)
    if size < 128:
        return bytes((tag, size)) + content
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(digits))) + digits + content


ALGORITHM: Final = tlv(0x30, tlv(6, bytes.fromhex("2b6570")))


def certificate(subject: bytes, *, version: bytes = tlv(0xA0, tlv(2, b"\2"))) -> bytes:
    """Return a certificate that OpenSSL reads; its key and signature are zeros."""
    validity = tlv(0x30, tlv(0x17, b"200101000000Z"), tlv(0x17, b"300101000000Z"))
    key = tlv(0x30, ALGORITHM, tlv(3, bytes(33)))
    fields = (tlv(2, b"\1"), ALGORITHM, tlv(0x30), validity, subject, key)
    return tlv(0x30, tlv(0x30, version, *fields), ALGORITHM, tlv(3, bytes(65)))


def attribute(kind: bytes, tag: int, value: bytes) -> bytes:
    return tlv(0x30, kind, tlv(tag, value))


def name(*attributes: bytes) -> bytes:
    return tlv(0x30, *(tlv(0x31, item) for item in attributes))


def common_name(tag: int, value: bytes) -> bytes:
    return name(attribute(COMMON_NAME, tag, value))


@pytest.mark.parametrize("version", [tlv(0xA0, tlv(2, b"\2")), b""])
@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        (name(), "eea339da"),
        (
            name(
                attribute(COUNTRY, 0x13, b"DE"),
                attribute(ORGANIZATION, 0x13, b"Example Org"),
                attribute(COMMON_NAME, 0x13, b"Example Root"),
            ),
            "3179e0d9",
        ),
        (
            name(
                attribute(COUNTRY, 0x13, b"DE"),
                attribute(ORGANIZATION, 0x0C, b"EXAMPLE  org "),
                attribute(COMMON_NAME, 0x16, b"\texample\n root"),
            ),
            "3179e0d9",
        ),
        (common_name(0x0C, UMLAUTS.encode()), "4e214797"),
        (common_name(0x14, UMLAUTS.encode("latin-1")), "4e214797"),
        (common_name(0x1E, UMLAUTS.encode("utf-16-be")), "4e214797"),
        (common_name(0x1C, UMLAUTS.encode("utf-32-be")), "4e214797"),
        (common_name(0x12, b"12 34"), "4bb064b7"),
        (common_name(0x03, b"\0abc"), "07a23bbc"),
        (common_name(0x0C, b"   "), "5da78770"),
        (common_name(0x0C, "\u00a0x\u2003y\u0085".encode()), "cd5696ad"),
        (common_name(0x0C, b"x" * 60 + b" " * 500 + b"y" * 200), "1399dc67"),
        (common_name(0x0C, "🙂 A".encode()), "6660d926"),
        (common_name(0x0C, b"a\0B"), "5e04e6bb"),
    ],
)
def test_hash_is_that_of_openssl(subject: bytes, version: bytes, expected: str) -> None:
    """White space and case of ASCII do not count, other letters do; types do where not text."""
    assert subject_hash(certificate(subject, version=version)) == expected


def test_attributes_of_one_rdn_are_sorted() -> None:
    first, second = attribute(ORGANIZATION, 0x0C, b"B"), attribute(COMMON_NAME, 0x0C, b"a")
    for parts in ((first, second), (second, first)):
        assert subject_hash(certificate(tlv(0x30, tlv(0x31, *parts)))) == "d84763ce"


def test_certificate_is_cut_from_what_follows_it() -> None:
    der = certificate(name())
    assert certificate_der(der + b"rest") == der


@pytest.mark.parametrize("content", [b"", b"0", b"hello", b"\x31\0", b"\x30\5\0", b"\x30\x84"])
def test_content_that_is_no_sequence_is_no_certificate(content: bytes) -> None:
    assert certificate_der(content) is None


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        (0x0C, b"\xff"),
        (0x0C, b"\xed\xa0\x80"),
        (0x1E, b"\0"),
        (0x1E, b"\xd8\x3d\xde\x42"),
        (0x1E, b"\xd8\x3d"),
        (0x1C, b"\0\x11\0\0"),
    ],
)
def test_text_that_openssl_cannot_convert_is_refused(tag: int, value: bytes) -> None:
    with pytest.raises(FormatError, match=r"got b'.*' in the subject, want utf-.* text"):
        subject_hash(certificate(common_name(tag, value)))


@pytest.mark.parametrize("tag", [0x1A, 0x2C, 0x04, 0x05, 0x80])
def test_value_of_a_type_that_openssl_does_not_read_is_refused(tag: int) -> None:
    """VisibleString among them."""
    with pytest.raises(FormatError, match=f"got DER tag {tag:#04x} in the subject, want a text"):
        subject_hash(certificate(common_name(tag, b"x")))


@pytest.mark.parametrize(
    ("der", "message"),
    [
        (b"", "got 0 bytes at byte 0, want a DER tag and length"),
        (b"\x31\0", "got DER tag 0x31 in a certificate, want 0x30"),
        (tlv(0x30, tlv(0x30)), "got 0 bytes at byte 4, want a DER tag and length"),
        (tlv(0x30, tlv(0x30, tlv(4))), "got DER tag 0x04 in a certificate, want 0x02"),
        (b"\x30\x80", "got a DER length of 0 bytes at byte 0, want the shortest"),
        (b"\x30\x81\x05" + bytes(5), "got a DER length of 1 bytes at byte 0, want the shortest"),
        (b"\x30\x82\x00\x85" + bytes(200), "got a DER length of 2 bytes at byte 0"),
        (b"\x30\x82\x01", "got a DER length of 2 bytes at byte 0"),
        (b"\x30\x85\x01\0\0\0\0", "got a DER length of 5 bytes at byte 0"),
        (b"\x30\x84\xff\xff\xff\xff", "got 0 bytes at byte 0, want 4294967295"),
        (b"\x3f\x81\1\0", "got DER tag 0x3f at byte 0, want one below 31"),
        (certificate(tlv(0x30, tlv(0x30))), "got DER tag 0x30 in a certificate, want 0x31"),
        (certificate(tlv(0x30, tlv(0x31, tlv(0x31)))), "got DER tag 0x31 in a certificate"),
        (
            certificate(name(tlv(0x30, COMMON_NAME, tlv(0x0C), b"\0"))),
            "got 1 bytes after a value of the subject",
        ),
        (certificate(name(tlv(0x30, tlv(2, b"\1"), tlv(0x0C)))), "got DER tag 0x02"),
        (certificate(name(tlv(0x30, COMMON_NAME))), "want a DER tag and length"),
    ],
)
def test_what_is_not_der_is_refused(der: bytes, message: str) -> None:
    with pytest.raises(FormatError) as caught:
        subject_hash(der)
    assert message in str(caught.value)


def test_no_damage_escapes_as_another_error() -> None:
    der = certificate(common_name(0x0C, b"Example"))
    refused = 0
    for index in range(len(der)):
        for value in (0, 1, 0x30, 0x7F, 0x80, 0x84, 0xFF):
            try:
                subject_hash(der[:index] + bytes((value,)) + der[index + 1 :])
            except FormatError:
                refused += 1
    assert refused > 100
