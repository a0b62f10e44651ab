"""The subject hash of an X.509 certificate, by which OpenSSL names certificate files.

Specification: OpenSSL 1.0 and later, `X509_NAME_hash_ex` and `x509_name_canon` in
`crypto/x509/x_name.c`; ITU-T X.690 for DER, RFC 5280 section 4.1 for the certificate.

1. Each relative distinguished name becomes a SET of SEQUENCEs of type and value, sorted by their
   encoding; the SETs are concatenated without an outer SEQUENCE.
2. A value that is a text of a common type becomes UTF-8, without white space around it, with single
   spaces for white space within it, and ASCII letters in lower case. NumericString, BIT STRING and
   SEQUENCE stay as they are; OpenSSL reads no others in a name.
3. The first four bytes of the SHA-1 digest, read as a little-endian number, are the hash.

The walk visits a fixed number of levels, and refuses what is not DER.
Left out: everything else in a certificate; nothing is verified.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from pipeline.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator

_INTEGER: Final = 0x02
_BIT_STRING: Final = 0x03
_OID: Final = 0x06
_UTF8_STRING: Final = 0x0C
_NUMERIC_STRING: Final = 0x12
_PRINTABLE_STRING: Final = 0x13
_T61_STRING: Final = 0x14
_IA5_STRING: Final = 0x16
_UNIVERSAL_STRING: Final = 0x1C
_BMP_STRING: Final = 0x1E
_SEQUENCE: Final = 0x30
_SET: Final = 0x31
_VERSION: Final = 0xA0

_ENCODINGS: Final = {
    _UTF8_STRING: "utf-8",
    _PRINTABLE_STRING: "latin-1",
    _T61_STRING: "latin-1",
    _IA5_STRING: "latin-1",
    _UNIVERSAL_STRING: "utf-32-be",
    _BMP_STRING: "utf-16-be",
}
"""OpenSSL takes the one-byte types for Latin-1."""
_UNCHANGED: Final = frozenset({_NUMERIC_STRING, _BIT_STRING, _SEQUENCE})
_LONG_FORM: Final = 0x80
_MAX_LENGTH_BYTES: Final = 4
_HIGH_TAG: Final = 0x1F


def certificate_der(content: bytes) -> bytes | None:
    """Return the certificate at the start of a PEM block; None if there is no such SEQUENCE."""
    try:
        tag, _, end = _read(content, 0, len(content))
    except FormatError:
        return None
    return content[:end] if tag == _SEQUENCE else None


def subject_hash(der: bytes) -> str:
    """Return the eight hexadecimal digits that OpenSSL derives from a certificate's subject.

    Raises:
        FormatError: the certificate is not DER as far as its subject.
    """
    digest = hashlib.sha1(_canonical(der), usedforsecurity=False).digest()
    return f"{int.from_bytes(digest[:4], 'little'):08x}"


def _canonical(der: bytes) -> bytes:
    start, end = _subject(der)
    return b"".join(
        _canonical_rdn(der, first, last) for _, first, last in _children(der, start, end, want=_SET)
    )


def _subject(der: bytes) -> tuple[int, int]:
    """Return where the content of the subject begins and ends."""
    start, end = _enter(der, 0, len(der), want=_SEQUENCE)
    start, end = _enter(der, start, end, want=_SEQUENCE)
    tag, _, after = _read(der, start, end)
    if tag == _VERSION:
        start = after
    # serialNumber, signature, issuer, validity stand before the subject.
    for want in (_INTEGER, _SEQUENCE, _SEQUENCE, _SEQUENCE):
        _, start = _enter(der, start, end, want=want)
    return _enter(der, start, end, want=_SEQUENCE)


def _canonical_rdn(der: bytes, start: int, end: int) -> bytes:
    attributes = []
    for _, first, last in _children(der, start, end, want=_SEQUENCE):
        _, after_type = _enter(der, first, last, want=_OID)
        tag, value, after_value = _read(der, after_type, last)
        if after_value != last:
            raise FormatError(f"got {last - after_value} bytes after a value of the subject")
        if tag in _ENCODINGS:
            encoded = _canonical_text(tag, der[value:after_value])
        elif tag in _UNCHANGED:
            encoded = der[after_type:after_value]
        else:
            raise FormatError(f"got DER tag {tag:#04x} in the subject, want a text")
        attributes.append(_encode(_SEQUENCE, der[first:after_type] + encoded))
    return _encode(_SET, b"".join(sorted(attributes)))


def _canonical_text(tag: int, content: bytes) -> bytes:
    encoding = _ENCODINGS[tag]
    try:
        # A BMPString has no surrogate pairs; the decoder must not join two of its units.
        text = content.decode(encoding)
        if tag == _BMP_STRING and len(text) * 2 != len(content):
            raise UnicodeDecodeError(encoding, content, 0, len(content), "surrogates")
        content = text.encode("utf-8")
    except UnicodeError:
        raise FormatError(f"got {content[:40]!r} in the subject, want {encoding} text") from None
    # Splitting bytes splits at the white space of ASCII alone, and folds only its letters.
    return _encode(_UTF8_STRING, b" ".join(content.split()).lower())


def _children(der: bytes, start: int, end: int, *, want: int) -> Iterator[tuple[int, int, int]]:
    while start < end:
        tag, first, last = _read(der, start, end)
        _expect(tag, want)
        yield tag, first, last
        start = last


def _enter(der: bytes, start: int, end: int, *, want: int) -> tuple[int, int]:
    tag, first, last = _read(der, start, end)
    _expect(tag, want)
    return first, last


def _expect(tag: int, want: int) -> None:
    if tag != want:
        raise FormatError(f"got DER tag {tag:#04x} in a certificate, want {want:#04x}")


def _read(der: bytes, start: int, end: int) -> tuple[int, int, int]:
    """Read tag and length at `start`; return the tag and where its content begins and ends."""
    if end - start < 2:  # noqa: PLR2004
        raise FormatError(f"got {end - start} bytes at byte {start}, want a DER tag and length")
    tag, length = der[start], der[start + 1]
    first = start + 2
    if tag & _HIGH_TAG == _HIGH_TAG:
        raise FormatError(f"got DER tag {tag:#04x} at byte {start}, want one below 31")
    if length & _LONG_FORM:
        size = length ^ _LONG_FORM
        digits = der[first : min(first + size, end)]
        length = int.from_bytes(digits, "big")
        first += size
        is_minimal = bool(digits) and digits[0] > 0 and length >= _LONG_FORM
        if size > _MAX_LENGTH_BYTES or len(digits) != size or not is_minimal:
            raise FormatError(
                f"got a DER length of {size} bytes at byte {start}, want the shortest"
            )
    if length > end - first:
        raise FormatError(f"got {end - first} bytes at byte {start}, want {length}")
    return tag, first, first + length


def _encode(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < _LONG_FORM:
        return bytes((tag, size)) + content
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, _LONG_FORM | len(digits))) + digits + content
