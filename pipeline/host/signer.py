"""Signers: who signs images and statements, and where the key is.

A `Signer` signs bytes with a key of the kinds in `attest.public_key`, the way cosign does: ECDSA
and RSA over SHA-256. GPG, which signs messages, is in `host.gpg`.

1. `KeySigner`: the key in a file or in an environment variable (`env://NAME`, as cosign spells
   it): PKCS #8 or an older form in PEM, plain or encrypted, or cosign's encrypted form. A password
   comes from COSIGN_PASSWORD or from a command that prints it; nobody is asked.
2. `CommandSigner`: a command, for keys that cannot leave an HSM, an agent or a service. It reads
   the bytes to be signed or, if so declared, their SHA-256 (32 bytes), from its standard input,
   and writes the signature, binary, to its standard output: ASN.1 DER for ECDSA. Its public key is
   a file. It has our environment; no argument is added to those declared.
3. The private key is read when the first signature is made. Until then the public key is enough: of
   `x.key` the file `x.pub` beside it, if there is one.
4. Every signature is verified before it is believed.
5. Neither keys nor passwords are in an argument, a log, a `repr` or an error; what a command says
   when it fails is not repeated.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from pipeline.attest.encrypted_key import decrypt_key, is_encrypted_key
from pipeline.attest.public_key import PublicKey
from pipeline.errors import ConfigurationError, FormatError, PipelineError
from pipeline.host.command import inherited, run

if TYPE_CHECKING:
    from typing import TypeAlias

    PrivateKey: TypeAlias = (
        ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
    )

_logger = logging.getLogger(__name__)

PASSWORD_VARIABLE: Final = "COSIGN_PASSWORD"  # noqa: S105  - the variable's name, as cosign has it
_VARIABLE: Final = "env://"
_MAX_KEY: Final = 1 << 20
_COMMAND_SECONDS: Final = 120.0
"""A command may ask a person, or a machine far away."""


class Signer(Protocol):
    """Somebody who can sign bytes."""

    @property
    def public_key(self) -> PublicKey:
        """The key that verifies what this signs."""

    def sign(self, data: bytes) -> bytes:
        """Return a signature over bytes, verified (4)."""


# ---------------------------------------------------------------- a key


@dataclass(frozen=True, slots=True)
class PasswordSource:
    """Where the password of a private key comes from (1)."""

    command: tuple[str, ...] = ()
    """Prints it; a newline at its end is no part of it."""

    def read(self) -> bytes:
        """Return the password.

        Raises:
            ConfigurationError: there is none.
        """
        if self.command:
            return _first_line(self.command)
        password = os.environ.get(PASSWORD_VARIABLE)
        if password is None:
            raise ConfigurationError(
                "the private key is encrypted and there is no password",
                hint=f"set {PASSWORD_VARIABLE}, or declare a password_command",
            )
        return os.fsencode(password)


def _first_line(command: tuple[str, ...]) -> bytes:
    output = _quietly(command, b"", what="password command")
    return output.removesuffix(b"\n").removesuffix(b"\r")


def _quietly(command: tuple[str, ...], stdin: bytes, *, what: str) -> bytes:
    """Run a command whose words may be secret (5)."""
    try:
        output = run(
            command,
            environment=inherited(),
            stdin=stdin,
            timeout=_COMMAND_SECONDS,
            check=False,
        )
    except ConfigurationError:
        raise
    except PipelineError:
        raise ConfigurationError(f"{what} {command[0]!r}: took too long or said too much") from None
    if output.status:
        raise ConfigurationError(
            f"{what} {command[0]!r}: exit status {output.status}",
            hint="run it by hand to see why; its output is not shown here",
        )
    return output.stdout


@dataclass(frozen=True, slots=True)
class KeySource:
    """Where a private key is."""

    text: str
    """A file's name, or `env://NAME`."""

    def read(self) -> bytes:
        """Return the content of the key file.

        Raises:
            ConfigurationError: there is none.
        """
        name = self.variable
        if name is not None:
            value = os.environ.get(name)
            if not value:
                raise ConfigurationError(f"the environment variable {name} holds no private key")
            return os.fsencode(value)
        path = Path(self.text)
        try:
            with path.open("rb") as f:
                mode = os.fstat(f.fileno()).st_mode
                data = f.read(_MAX_KEY)
        except OSError as e:
            reason = (e.strerror or "cannot be read").lower()
            raise ConfigurationError(f"private key {path}: {reason}") from None
        if mode & (stat.S_IRGRP | stat.S_IROTH) and not is_encrypted_key(data):
            _logger.warning("private key %s can be read by others", path)
        return data

    @property
    def variable(self) -> str | None:
        """The environment variable, if it is one."""
        return self.text.removeprefix(_VARIABLE) if self.text.startswith(_VARIABLE) else None

    def public_file(self) -> Path | None:
        """Return the file of the public key beside it, None if there is none (3)."""
        if self.variable is not None:
            return None
        path = Path(self.text).with_suffix(".pub")
        return path if path.is_file() else None


def load_private_key(data: bytes, password: PasswordSource) -> PrivateKey:
    """Read a private key (1).

    Raises:
        ConfigurationError: it is encrypted, and the password is missing or not the right one.
        FormatError: it is no private key of a kind that can be used here.
    """
    if is_encrypted_key(data):
        der = decrypt_key(data, password.read())
        return _usable(lambda: serialization.load_der_private_key(der, None))
    try:
        return _usable(lambda: serialization.load_pem_private_key(data, None))
    except TypeError:  # the library's word for "encrypted"
        secret = password.read()
    try:
        return _usable(lambda: serialization.load_pem_private_key(data, secret or None))
    except (TypeError, FormatError):
        raise ConfigurationError("the password does not open the private key") from None


def _usable(load: object) -> PrivateKey:
    assert callable(load), "a loader"
    try:
        key = load()
    except (ValueError, UnsupportedAlgorithm):
        raise FormatError("not a private key in PEM") from None
    if not isinstance(
        key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
    ):
        raise FormatError(f"got a {type(key).__name__}, want ECDSA, Ed25519 or RSA")
    return key


def public_key_of(key: PrivateKey) -> PublicKey:
    """Return the public half of a key."""
    return PublicKey(
        key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


class KeySigner:
    """Signs with a key that this process can read (1, 3)."""

    def __init__(self, source: KeySource, password: PasswordSource) -> None:
        self._source = source
        self._password = password

    def __repr__(self) -> str:
        return f"KeySigner({self._source.text!r})"

    @functools.cached_property
    def _private(self) -> PrivateKey:
        try:
            return load_private_key(self._source.read(), self._password)
        except FormatError as e:
            raise ConfigurationError(f"private key {self._source.text}: {e}") from None

    @functools.cached_property
    def public_key(self) -> PublicKey:
        """The public key."""
        path = self._source.public_file()
        return public_key_of(self._private) if path is None else read_public_key(path)

    def sign(self, data: bytes) -> bytes:
        """Sign; equal data have equal signatures, ECDSA's too (RFC 6979)."""
        key = self._private
        if isinstance(key, ec.EllipticCurvePrivateKey):
            signature = key.sign(data, _ecdsa())
        elif isinstance(key, rsa.RSAPrivateKey):
            signature = key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        else:
            signature = key.sign(data)
        self.public_key.verify(data, signature, what=f"signature by {self._source.text}")
        return signature


def _ecdsa() -> ec.ECDSA:
    try:
        return ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
    except UnsupportedAlgorithm:  # built against an OpenSSL before 3.2
        return ec.ECDSA(hashes.SHA256())


def read_public_key(path: Path) -> PublicKey:
    """Read the file of a public key.

    Raises:
        ConfigurationError: it cannot be read.
    """
    try:
        return PublicKey.parse(path.read_bytes())
    except OSError as e:
        reason = (e.strerror or "cannot be read").lower()
        raise ConfigurationError(f"public key {path}: {reason}") from None
    except FormatError as e:
        raise ConfigurationError(f"public key {path}: {e}") from None


# ---------------------------------------------------------------- a command


@dataclass(frozen=True, kw_only=True)
class CommandSigner:
    """Lets a command sign (2)."""

    command: tuple[str, ...] = field(repr=False)
    reads: Literal["payload", "digest"]
    """What it gets."""
    public_file: Path

    @functools.cached_property
    def public_key(self) -> PublicKey:
        """The public key."""
        return read_public_key(self.public_file)

    def sign(self, data: bytes) -> bytes:
        """Sign."""
        stdin = data if self.reads == "payload" else hashlib.sha256(data).digest()
        signature = _quietly(self.command, stdin, what="signing command")
        what = f"signature by the command {self.command[0]!r}"
        self.public_key.verify(data, signature, what=what)
        return signature
