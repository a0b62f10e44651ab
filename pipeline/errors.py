"""The error hierarchy: blame decides the branch.

`str(error)` is one line that says what, where, and got / want; `error.hint` is what to do next.
Misuse by our own code is `TypeError`, `ValueError` or `RuntimeError` and is a bug.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class PipelineError(Exception):
    """Base of every error that a user can cause, meet or mend."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[object, ...]:
        """Keep every attribute when the error crosses a process boundary."""
        return (_rebuild, (type(self), dict(self.__dict__)))


def _rebuild(kind: type[PipelineError], state: dict[str, object]) -> PipelineError:
    error = kind.__new__(kind)
    Exception.__init__(error, state.get("message"))
    error.__dict__.update(state)
    return error


# ---------------------------------------------------------------- their bytes


class FormatError(PipelineError, ValueError):
    """Bytes break their format."""

    def __init__(self, message: str, *, hint: str | None = None, context: str = "") -> None:
        super().__init__(message, hint=hint)
        self.context = context
        """Path inside the document, e.g. `packages[3].sum`; built while unwinding."""

    def __str__(self) -> str:
        return f"{self.context}: {self.message}" if self.context else self.message

    def within(self, outer: str) -> FormatError:
        """Prefix the context with the place that held the broken value; return self."""
        if self.context and not self.context.startswith("["):
            self.context = f"{outer}.{self.context}" if outer else self.context
        else:
            self.context = f"{outer}{self.context}"
        return self

    def in_document(self, name: str) -> FormatError:
        """Put the name of the whole document before the context; return self."""
        self.context = f"{name}: {self.context}" if self.context else name
        return self


class ManifestError(FormatError):
    """A package manifest is not what pkg(8) describes."""


class PackagesiteError(FormatError):
    """A repository's meta.conf or catalogue is malformed."""


class FingerprintError(FormatError):
    """A file of trusted or revoked fingerprints, or a public key, cannot be read."""


class ArchiveError(FormatError):
    """An archive is damaged, hostile or disagrees with its manifest."""


class LockfileError(FormatError):
    """The lock cannot be read."""


class LayoutError(FormatError):
    """An OCI layout or one of its documents is inconsistent."""


class DeclarationError(FormatError):
    """The declaration (images.toml) says something that cannot be built."""


class ScriptError(FormatError):
    """A package script that nobody has taught the pipeline to compute."""


class DatabaseError(FormatError):
    """A database cannot be trusted, read or rewritten."""


# ---------------------------------------------------------------- their trust


class VerificationError(PipelineError):
    """Well-formed, but not to be believed."""


class SignatureError(VerificationError):
    """A signature is missing, of the wrong kind, or does not verify."""


class MissingSignatureError(SignatureError):
    """A signature was wanted and there is none."""


class SignatureTypeError(SignatureError):
    """Signed, but in another way than was wanted."""


class UntrustedFingerprintError(VerificationError):
    """Signed, but by no key that is trusted."""


class RevokedFingerprintError(VerificationError):
    """Signed by a key that has been revoked."""


class DigestMismatchError(VerificationError):
    """Content is not what its digest, sum or size promised."""

    def __init__(self, what: str, *, got: str, want: str, hint: str | None = None) -> None:
        super().__init__(f"{what}: got {got}, want {want}", hint=hint)
        self.got = got
        self.want = want


class ManifestMismatchError(VerificationError):
    """A package is not what its catalogue says it is."""


# ---------------------------------------------------------------- the request


class ResolutionError(PipelineError):
    """No set of packages answers the request."""

    def __init__(
        self,
        message: str,
        *,
        causes: Sequence[tuple[str, str | None]] = (),
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.causes = tuple(causes)
        """Pairs of (requirement, the package that has it; None for the request itself)."""


class UnsatisfiedError(ResolutionError):
    """Nothing provides what was asked for."""


class ConflictError(ResolutionError):
    """Two things that were asked for exclude each other."""


class StaleLockError(PipelineError):
    """The lock no longer answers the declaration, or is missing."""


# ---------------------------------------------------------------- the network


class FetchError(PipelineError):
    """Something could not be fetched."""


class NotFoundError(FetchError):
    """There is no such file."""


class HttpError(FetchError):
    """A server answered with an error status."""

    def __init__(self, url: str, status: int, *, hint: str | None = None) -> None:
        super().__init__(f"{url}: HTTP status {status}", hint=hint)
        self.status = status


class TooLargeError(FetchError):
    """A download is longer than the limit that was set for it."""

    def __init__(self, what: str, limit: int, *, hint: str | None = None) -> None:
        super().__init__(f"{what}: longer than the limit of {limit} bytes", hint=hint)
        self.limit = limit


class RegistryError(FetchError):
    """A registry refused, with its own code."""

    def __init__(
        self, message: str, *, status: int = 0, code: str = "", hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.code = code


# ---------------------------------------------------------------- our tools


class CommandError(PipelineError):
    """A program that we ran failed."""

    def __init__(
        self, argv: Sequence[str], status: int, stderr: str, *, hint: str | None = None
    ) -> None:
        last = stderr.strip().splitlines()[-1:] or ["no message"]
        super().__init__(f"{argv[0]}: exit status {status}: {last[0]}", hint=hint)
        self.argv = tuple(argv)
        self.status = status
        self.stderr = stderr


class ConfigurationError(PipelineError):
    """A setting, a path or a program of this machine is not usable."""


# ---------------------------------------------------------------- our build


class NotReproducibleError(PipelineError):
    """Two builds of the same lock differ."""

    def __init__(
        self, message: str, *, differences: Sequence[str] = (), report: str | None = None
    ) -> None:
        super().__init__(message, hint=f"see {report}" if report else None)
        self.differences = tuple(differences)
        self.report = report
