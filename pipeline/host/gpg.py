"""GPG: signed messages for simple signing, made and verified by the program `gpg`.

Specification: containers-signature(5). A signature is an OpenPGP message signed once, binary.

1. podman and skopeo compare the fingerprint of the key that signed with that of the primary keys
   they trust, so a signature by a subkey is refused. We sign by `FINGERPRINT!`, and only with a
   primary key that may sign.
2. Signing: the keys are those of GNUPGHOME or of the directory that is declared; the agent asks for
   a passphrase as it is set up to, or GPG_PASSPHRASE holds it, which goes through standard input.
3. Verifying: in a directory of its own that has nothing but the keys given, without an agent; one
   good signature, by a primary key, none of it expired or revoked.
4. What gpg says when it fails is shown; it never says a passphrase.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.errors import CommandError, ConfigurationError, SignatureError
from pipeline.host.command import inherited, run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

PASSPHRASE_VARIABLE: Final = "GPG_PASSPHRASE"  # noqa: S105  - the variable's name
_FINGERPRINT_RE: Final = re.compile("[0-9A-F]{40}|[0-9A-F]{64}")
_SECONDS: Final = 120.0
_BASIC: Final = ("gpg", "--batch", "--no-tty", "--quiet")
_MIN_FIELDS: Final = 12
_STATUS: Final = b"[GNUPG:] "
_REFUSED: Final = ("EXPSIG", "EXPKEYSIG", "REVKEYSIG", "BADSIG", "ERRSIG")


def check_fingerprint(text: str) -> str:
    """Return a fingerprint without blanks, in capitals.

    Raises:
        ConfigurationError: it is none; a short key id names no key reliably.
    """
    plain = "".join(text.split()).upper().removeprefix("0X").removesuffix("!")
    if _FINGERPRINT_RE.fullmatch(plain) is None:
        raise ConfigurationError(
            f"got GPG key {text[:80]!r}, want a whole fingerprint",
            hint="gpg --list-secret-keys shows it",
        )
    return plain


class GpgSigner:
    """Signs with a secret key of gpg's (1, 2)."""

    def __init__(self, fingerprint: str, *, home: Path | None = None) -> None:
        """Prepare; nothing is run yet.

        Args:
            fingerprint: of a primary key that may sign.
            home: instead of GNUPGHOME.
        """
        self.fingerprint = check_fingerprint(fingerprint)
        self._home = home

    def __repr__(self) -> str:
        return f"GpgSigner({self.fingerprint})"

    def _environment(self) -> dict[str, str]:
        environment = inherited()
        environment.pop(PASSPHRASE_VARIABLE, None)
        if self._home is not None:
            environment["GNUPGHOME"] = str(self._home.absolute())
        return environment

    def _run(self, *arguments: str, stdin: bytes = b"") -> bytes:
        return run(
            [*_BASIC, *arguments], environment=self._environment(), stdin=stdin, timeout=_SECONDS
        ).stdout

    def check(self) -> None:
        """Raise ConfigurationError unless the key is there and may sign (1)."""
        what = f"GPG key {self.fingerprint}"
        try:
            listing = self._run("--with-colons", "--list-secret-keys", self.fingerprint)
        except CommandError:
            raise ConfigurationError(
                f"{what}: there is no such secret key", hint="gpg --list-secret-keys shows them"
            ) from None
        rows = [line.split(":") for line in listing.decode("utf-8", "replace").splitlines()]
        primary = next((row for row in rows if row[0] == "sec" and len(row) >= _MIN_FIELDS), None)
        found = next((row[9] for row in rows if row[0] == "fpr"), "")
        if primary is None or found != self.fingerprint:
            raise ConfigurationError(
                f"{what}: is a subkey, want its primary key, {found}",
                hint="podman and skopeo refuse signatures by subkeys",
            )
        if primary[1] in ("e", "r", "d", "i"):
            raise ConfigurationError(f"{what}: is expired, revoked or disabled")
        if "s" not in primary[11]:
            raise ConfigurationError(
                f"{what}: may not sign, only its subkeys may",
                hint="podman and skopeo refuse signatures by subkeys; make a key whose primary"
                " signs: gpg --quick-generate-key 'NAME <MAIL>' ed25519 sign never",
            )

    def sign(self, payload: bytes) -> bytes:
        """Return a signed message (2)."""
        self.check()
        arguments = ["--no-armor", "-z", "0", "--local-user", f"{self.fingerprint}!"]
        passphrase = os.environ.get(PASSPHRASE_VARIABLE)
        stdin = payload
        if passphrase is not None:
            arguments += ["--pinentry-mode", "loopback", "--passphrase-fd", "0"]
            stdin = os.fsencode(passphrase) + b"\n" + payload
        message = self._run(*arguments, "--sign", stdin=stdin)
        with Keyring.of([self.export()]) as keyring:
            if keyring.verify(message, what=f"signature by {self.fingerprint}") != payload:
                raise SignatureError(f"gpg has signed something else with {self.fingerprint}")
        return message

    def export(self) -> bytes:
        """Return the public key, binary."""
        return self._run("--no-armor", "--export", self.fingerprint)


@dataclass(frozen=True, slots=True)
class Keyring:
    """Public keys, in a directory of their own (3)."""

    home: Path
    fingerprints: frozenset[str]
    """Of the primary keys."""

    @classmethod
    @contextlib.contextmanager
    def of(cls, keys: Iterable[bytes]) -> Iterator[Keyring]:
        """Make one of the content of key files, armored or not.

        Raises:
            ConfigurationError: one of them is no public key.
        """
        with tempfile.TemporaryDirectory(prefix="gpg-") as folder:
            home = Path(folder)
            for key in keys:
                if _gpg(home, "--import", stdin=key).status:
                    raise ConfigurationError("not an OpenPGP public key")
            listing = _gpg(home, "--with-colons", "--list-keys").stdout.decode("utf-8", "replace")
            yield cls(home, frozenset(_primaries(listing.splitlines())))

    def verify(self, message: bytes, *, what: str) -> bytes:
        """Return what a message says, if one of the keys has signed it (1, 3).

        Raises:
            SignatureError: none has.
        """
        if message.startswith(b"-----BEGIN"):
            raise SignatureError(f"{what}: armored, which podman and skopeo refuse")
        with tempfile.TemporaryDirectory(prefix="gpg-", dir=self.home) as folder:
            payload = Path(folder) / "payload"
            output = _gpg(
                self.home,
                *("--status-fd", "1", "--output", str(payload), "--max-output", str(1 << 20)),
                "--decrypt",
                stdin=message,
            )
            signer = _good_signer(output.stdout.splitlines())
            if output.status or signer is None:
                raise SignatureError(f"{what}: no good signature by a trusted key")
            if signer not in self.fingerprints:
                raise SignatureError(
                    f"{what}: by the subkey {signer}, which podman and skopeo refuse"
                )
            return payload.read_bytes()


def _gpg(home: Path, *arguments: str, stdin: bytes = b"") -> _Output:
    environment = {**inherited("PATH"), "GNUPGHOME": str(home), "LC_ALL": "C"}
    argv = [*_BASIC, "--no-options", "--no-autostart", "--trust-model", "always", *arguments]
    output = run(argv, environment=environment, stdin=stdin, timeout=_SECONDS, check=False)
    return _Output(output.status, output.stdout)


@dataclass(frozen=True, slots=True)
class _Output:
    status: int
    stdout: bytes


def _primaries(lines: Sequence[str]) -> Iterator[str]:
    """Yield the fingerprints that follow primary keys in a listing."""
    is_primary = False
    for line in lines:
        row = line.split(":")
        if row[0] == "fpr" and is_primary:
            yield row[9]
        is_primary = row[0] == "pub"


def _good_signer(lines: Sequence[bytes]) -> str | None:
    """Return the fingerprint that a verification names, None unless all is well (3)."""
    said = [line.removeprefix(_STATUS).decode("utf-8", "replace").split() for line in lines]
    valid = [words[1] for words in said if words[:1] == ["VALIDSIG"]]
    if len(valid) != 1 or any(words[0] in _REFUSED for words in said if words):
        return None
    return valid[0]
