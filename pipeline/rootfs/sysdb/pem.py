"""Certificates in PEM files, as OpenSSL finds them.

Specification: RFC 7468; the tolerance of OpenSSL 3, `crypto/pem/pem_lib.c` (`PEM_read_bio_X509`):
text around the blocks and blocks of other types are passed over, lines may have any length and end
in CR LF. A block that cannot be decoded ends the file.

Left out, and refused: header lines within a certificate block.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final

from pipeline.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Iterator

_BEGIN: Final = b"-----BEGIN "
_END: Final = b"-----END "
_DASHES: Final = b"-----"
_CERTIFICATE_LABELS: Final = frozenset({b"CERTIFICATE", b"X509 CERTIFICATE"})
_BLANK: Final = bytes(range(0x21))
"""What OpenSSL strips from the end of a line."""
_COLUMNS: Final = 64


def iter_pem_certificates(raw: bytes) -> Iterator[bytes]:
    """Yield the content of the certificate blocks of a file, up to one that is damaged.

    Raises:
        FormatError: a block is of a form that is not followed here.
    """
    lines = (line.rstrip(_BLANK) for line in raw.split(b"\n"))
    for line in lines:
        label = _label(line, _BEGIN)
        if label is None:
            continue
        body = _read_body(lines, label)
        content = None if body is None else _decode(body, label)
        if content is None:
            return
        if label in _CERTIFICATE_LABELS:
            yield content


def write_pem_certificate(der: bytes) -> bytes:
    """Return a certificate block."""
    text = base64.b64encode(der)
    lines = [text[i : i + _COLUMNS] for i in range(0, len(text), _COLUMNS)]
    return b"\n".join((b"-----BEGIN CERTIFICATE-----", *lines, b"-----END CERTIFICATE-----", b""))


def _label(line: bytes, prefix: bytes) -> bytes | None:
    if not line.startswith(prefix) or not line.endswith(_DASHES):
        return None
    return line[len(prefix) : -len(_DASHES)]


def _read_body(lines: Iterator[bytes], label: bytes) -> list[bytes] | None:
    """Return the lines of a block; None if it does not end as it began."""
    body: list[bytes] = []
    for line in lines:
        if line.startswith(_END):
            return body if _label(line, _END) == label else None
        if line.startswith(_DASHES):
            raise FormatError(f"got {line[:40]!r} within a {label.decode('latin-1')} block")
        body.append(line)
    return None


def _decode(body: list[bytes], label: bytes) -> bytes | None:
    """Return the content of a block; None if it is damaged."""
    is_plain = all(line and b":" not in line for line in body)
    if not is_plain:
        if label in _CERTIFICATE_LABELS:
            raise FormatError("got header lines in a certificate block, want base64")
        body = body[body.index(b"") + 1 :] if b"" in body else body
    text = b"".join(body).translate(None, b" \t\r")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
