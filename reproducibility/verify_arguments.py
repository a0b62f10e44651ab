"""Arguments of `verify`: what they are, and what they mean."""

from __future__ import annotations

import argparse
import math
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.errors import ConfigurationError
from pipeline.host.environment import setting
from pipeline.host.signer import (
    CommandSigner,
    KeySigner,
    KeySource,
    PasswordSource,
    read_public_key,
)
from reproducibility.diffoscope import Diffoscope
from reproducibility.image_arguments import add_image_arguments, platform_of, progress_line
from reproducibility.verify import LIMIT, TIMEOUT, TRIES, Settings
from reproducibility.verify_attempt import EXPANSION, Bench
from reproducibility.verify_attest import check_output
from reproducibility.verify_claim import Sources
from reproducibility.verify_origin import parse_trusted
from reproducibility.verify_place import parse_reference
from reproducibility.verify_sources import parse_substitutes
from reproducibility.verify_statement import LOCAL_VERIFIER

if TYPE_CHECKING:
    from pipeline.host.signer import Signer


def add_verify_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare them."""
    add_image_arguments(parser)
    parser.add_argument("--report", type=Path, metavar="DIR", help="write all reports there")
    parser.add_argument("--no-diffoscope", action="store_true", help="do without diffoscope")
    parser.add_argument(
        "--shallow", action="store_true", help="do not read the layers that are served"
    )
    _add_lock(parser.add_argument_group("lock"))
    _add_work(parser.add_argument_group("work"))
    _add_signatures(parser.add_argument_group("signatures"))
    _add_attestation(parser.add_argument_group("attestation"))


def _add_lock(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--lock", type=Path, metavar="FILE", help="use this lock, not those attached")
    add("--declaration", type=Path, metavar="FILE", help="and this declaration")
    add("--target", metavar="RELEASE:IMAGE", help="which image of them it is, if that is not clear")
    add(
        "--repository",
        action="append",
        default=[],
        metavar="NAME=URL",
        help="fetch packages of this repository there: a mirror, or a directory; ${ABI} and the"
        " like are replaced (repeatable)",
    )
    add("--root", type=Path, metavar="DIR", help="where relative file: URLs of the lock start")
    add(
        "--tries",
        type=_count,
        default=TRIES,
        metavar="N",
        help="locks that are built at the most (default: %(default)s)",
    )


def _add_work(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--work", type=Path, metavar="DIR", help="make the working directory there")
    add(
        "--store",
        type=Path,
        metavar="DIR",
        help="keep packages in this store; they are hashed, and nothing else of it is used",
    )
    add(
        "--timeout",
        type=_seconds,
        default=TIMEOUT,
        metavar="SECONDS",
        help="time for one build (default: %(default)g)",
    )
    add(
        "--limit",
        type=_size,
        default=LIMIT,
        metavar="SIZE",
        help="fetch no more than this, of packages and of the image: 500M, 16G (default: 16G);"
        f" a build may write {EXPANSION} times as much",
    )


def _add_signatures(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--key",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="public key of the publisher: say whether image and lock are signed (repeatable)",
    )
    add("--require-signature", action="store_true", help="by one of these keys, or it is a no")
    add(
        "--fingerprints",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="directory of trusted fingerprints of a repository: have its keys signed the packages"
        " that the lock pins? (repeatable)",
    )


def _add_attestation(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--attest", action="store_true", help="sign what was found, unless it could not be told")
    add("--signing-key", metavar="KEY", help="a file, or env://NAME (default: PKGBASE_OCI_KEY)")
    add("--signing-command", metavar="COMMAND", help="signs instead of a key; docs/signing.md")
    add("--signing-command-reads", choices=("payload", "digest"), default="payload")
    add("--public-key", type=Path, metavar="FILE", help="of the command that signs")
    add(
        "--verifier-id",
        metavar="URI",
        help=f"who you are (default: PKGBASE_OCI_VERIFIER_ID, else {LOCAL_VERIFIER})",
    )
    add("--output", metavar="FILE", help="write the attestation there, or into oci:PATH")
    add(
        "--push",
        nargs="?",
        const="",
        metavar="HOST/PATH",
        help="attach it to the image, or keep it in this repository",
    )


_URI_RE: Final = re.compile("[A-Za-z][A-Za-z0-9+.-]*:[!-~]+")
"""RFC 3986 in a nutshell."""
_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def _size(text: str) -> int:
    number, unit = (text[:-1], text[-1:].upper()) if text[-1:].isalpha() else (text, "")
    if unit not in _UNITS or not (number.isascii() and number.isdigit()):
        raise argparse.ArgumentTypeError(f"got {text!r}, want e.g. 500M or 16G")
    return int(number) * _UNITS[unit]


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"got {text!r}, want 1 or more")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"got {text!r}, want seconds")
    return seconds


# ---------------------------------------------------------------- what they mean


def _given(arguments: argparse.Namespace) -> Sources | None:
    if arguments.lock is None and arguments.declaration is None:
        return None
    if arguments.lock is None or arguments.declaration is None:
        raise ConfigurationError("--lock and --declaration go together")
    return Sources(
        origin=str(arguments.lock),
        declaration=_read(arguments.declaration),
        lock=_read(arguments.lock),
        target=arguments.target,
        artifact=None,
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as e:
        reason = (e.strerror or "cannot be read").lower()
        raise ConfigurationError(f"{path}: {reason}") from None


def settings_of(arguments: argparse.Namespace, work: Path) -> Settings:
    """Return what they mean.

    Args:
        arguments: as parsed.
        work: an empty directory.

    Raises:
        ConfigurationError: a file cannot be read, or something is no name.
    """
    root = arguments.root
    return Settings(
        platform=platform_of(arguments),
        given=_given(arguments),
        keys=tuple(read_public_key(path) for path in arguments.key),
        requires_signature=arguments.require_signature,
        is_shallow=arguments.shallow,
        trusted=parse_trusted(tuple(arguments.fingerprints)),
        tries=arguments.tries,
        bench=Bench(
            work=work,
            archives=arguments.store,
            substitutes=parse_substitutes(
                tuple(arguments.repository), root=None if root is None else str(root.absolute())
            ),
            limit=arguments.limit,
            timeout=arguments.timeout,
            is_quiet=arguments.quiet,
            say=progress_line(quiet=arguments.quiet),
            watch=progress_line(quiet=arguments.quiet or not sys.stderr.isatty()),
        ),
        diffoscope=None if arguments.no_diffoscope else Diffoscope(),
        report=arguments.report,
    )


def check_arguments(arguments: argparse.Namespace) -> Signer | None:
    """Find out what is wrong with the arguments before any work is done; return who signs."""
    if arguments.root is not None and not arguments.root.is_dir():
        raise ConfigurationError(f"--root {arguments.root}: no such directory")
    if arguments.require_signature and not arguments.key:
        raise ConfigurationError("--require-signature wants the publisher's public key, --key FILE")
    if arguments.target is not None and arguments.lock is None:
        raise ConfigurationError("--target goes with --lock and --declaration")
    if not arguments.attest:
        if arguments.output is not None or arguments.push is not None:
            raise ConfigurationError("--output and --push go with --attest")
        return None
    _check_attestation(arguments)
    return _signer(arguments)


def _check_attestation(arguments: argparse.Namespace) -> None:
    """Find out now, not after the build, whether an attestation can be written as it should be."""
    output, push = arguments.output, arguments.push
    if output is None and push is None:
        raise ConfigurationError("where does the attestation go?", hint="--output FILE, --push")
    if output is not None:
        check_output(output)
    if push:
        parse_reference(push)
    elif push is not None and arguments.image.startswith(("oci:", "oci-archive:")):
        raise ConfigurationError(
            "a layout is no registry", hint="--push HOST/PATH, or --output oci:PATH"
        )
    if not _URI_RE.fullmatch(verifier_of(arguments)):
        raise ConfigurationError(
            f"got verifier {verifier_of(arguments)[:80]!r}, want a URI",
            hint="--verifier-id https://rebuilds.example.org",
        )


def verifier_of(arguments: argparse.Namespace) -> str:
    """Return who verifies: the argument, else the environment, else nobody in particular."""
    return str(arguments.verifier_id or setting("verifier_id") or LOCAL_VERIFIER)


def _signer(arguments: argparse.Namespace) -> Signer:
    """Return who signs; a key that cannot be used is found out now, not after the build."""
    if arguments.signing_command:
        if arguments.signing_key or arguments.public_key is None:
            raise ConfigurationError(
                "--signing-command wants its --public-key, and no --signing-key beside it"
            )
        command = CommandSigner(
            command=tuple(shlex.split(arguments.signing_command)),
            reads=arguments.signing_command_reads,
            public_file=arguments.public_key,
        )
        read_public_key(arguments.public_key)
        return command
    key = arguments.signing_key or setting("key")
    if not key:
        raise ConfigurationError(
            "there is no key to sign the attestation with",
            hint="--signing-key FILE, or PKGBASE_OCI_KEY; docs/signing.md says how to make one",
        )
    signer = KeySigner(KeySource(key), PasswordSource())
    signer.sign(b"")
    return signer
