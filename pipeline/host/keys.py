"""Make and convert keys: `python -m pipeline.keys`.

    generate PREFIX     PREFIX.key, encrypted as cosign and skopeo read it, and PREFIX.pub
    encrypt FILE PREFIX the same, of a private key that exists already
    public KEY          print the public key

The password is that of COSIGN_PASSWORD or, on a terminal, what is typed there. A key for GPG is
made by gpg itself (docs/signing.md).
"""

from __future__ import annotations

import argparse
import getpass
import os
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from pipeline.attest.encrypted_key import NONCE_LENGTH, SALT_LENGTH, encrypt_key
from pipeline.errors import ConfigurationError, PipelineError
from pipeline.host.signer import (
    PASSWORD_VARIABLE,
    KeySigner,
    KeySource,
    PasswordSource,
    load_private_key,
    public_key_of,
)
from pipeline.host.terminal import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.host.signer import PrivateKey

_FAILED: Final = 1
_EXPONENT: Final = 65537
_RSA_BITS: Final = 3072


def generate(kind: str) -> PrivateKey:
    """Make a private key of a kind: ecdsa (P-256), ed25519 or rsa (3072 bits)."""
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind == "rsa":
        return rsa.generate_private_key(_EXPONENT, _RSA_BITS)
    return ec.generate_private_key(ec.SECP256R1())


def write_key_pair(prefix: Path, key: PrivateKey, password: bytes) -> None:
    """Write `<prefix>.key`, encrypted and for nobody else to read, and `<prefix>.pub`.

    Raises:
        ConfigurationError: one of them exists.
    """
    der = key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    secret = encrypt_key(
        der,
        password,
        salt=secrets.token_bytes(SALT_LENGTH),
        nonce=secrets.token_bytes(NONCE_LENGTH),
    )
    _write_new(_with_ending(prefix, ".key"), secret, 0o600)
    _write_new(_with_ending(prefix, ".pub"), public_key_of(key).to_pem(), 0o644)


def _with_ending(prefix: Path, ending: str) -> Path:
    return prefix.with_name(prefix.name + ending)


def _write_new(path: Path, data: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise ConfigurationError(f"{path} exists; a key is never overwritten") from None
    except OSError as e:
        raise ConfigurationError(f"{path}: {(e.strerror or 'cannot be made').lower()}") from None
    with os.fdopen(descriptor, "wb") as f:
        f.write(data)


def _new_password() -> bytes:
    """Return the password for a new key; on a terminal it is typed twice."""
    given = os.environ.get(PASSWORD_VARIABLE)
    if given is not None:
        return os.fsencode(given)
    if not sys.stdin.isatty():
        raise ConfigurationError("no password for the key", hint=f"set {PASSWORD_VARIABLE}")
    first = getpass.getpass("password for the private key: ")
    if getpass.getpass("the same again: ") != first:
        raise ConfigurationError("the two passwords differ")
    return first.encode()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.keys",
        description="Make and convert the keys that sign images.",
        epilog=f"The password of a private key is that of {PASSWORD_VARIABLE}, or is asked for.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    new = commands.add_parser("generate", help="make PREFIX.key and PREFIX.pub")
    new.add_argument("prefix", type=Path, metavar="PREFIX")
    new.add_argument("--type", choices=("ecdsa", "ed25519", "rsa"), default="ecdsa")
    old = commands.add_parser("encrypt", help="the same, of a private key in PEM")
    old.add_argument("file", metavar="FILE", help="a file, or env://NAME")
    old.add_argument("prefix", type=Path, metavar="PREFIX")
    public = commands.add_parser("public", help="print the public key of a private key")
    public.add_argument("key", metavar="KEY", help="a file, or env://NAME")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "public":
            signer = KeySigner(KeySource(options.key), PasswordSource())
            sys.stdout.write(signer.public_key.to_pem().decode())
        else:
            if options.command == "generate":
                key = generate(options.type)
            else:
                key = load_private_key(KeySource(options.file).read(), PasswordSource())
            write_key_pair(options.prefix, key, _new_password())
            sys.stdout.write(f"{options.prefix}.key\n{options.prefix}.pub\n")
    except PipelineError as e:
        hint = "" if e.hint is None else f"\n  hint: {e.hint}"
        sys.stderr.write(printable(f"error: {e}{hint}\n"))
        return _FAILED
    return 0
