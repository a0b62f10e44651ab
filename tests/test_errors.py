"""Errors: blame decides the branch, and nothing is lost on the way to the user."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest

from pipeline import errors
from pipeline.errors import (
    CommandError,
    ConflictError,
    DigestMismatchError,
    FetchError,
    FormatError,
    HttpError,
    LockfileError,
    NotReproducibleError,
    PipelineError,
    RegistryError,
    ResolutionError,
    TooLargeError,
    UnsatisfiedError,
    VerificationError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


def subclasses(kind: type[PipelineError]) -> Iterator[type[PipelineError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from subclasses(child)


def example(kind: type[PipelineError]) -> PipelineError:
    """Make an error of each kind, with everything that it can carry."""
    special: dict[type[PipelineError], PipelineError] = {
        DigestMismatchError: DigestMismatchError("x", got="1", want="2", hint="h"),
        HttpError: HttpError("https://example.org", 404, hint="h"),
        TooLargeError: TooLargeError("x", 7, hint="h"),
        RegistryError: RegistryError("m", status=500, code="DENIED", hint="h"),
        CommandError: CommandError(["tar", "-x"], 2, "a\nb\n", hint="h"),
        NotReproducibleError: NotReproducibleError("m", differences=["d"], report="r.html"),
    }
    if kind in special:
        return special[kind]
    if issubclass(kind, FormatError):
        return kind("m", hint="h", context="a[1].b")
    if issubclass(kind, ResolutionError):
        return kind("m", causes=[("a", None), ("b", "a")], hint="h")
    return kind("m", hint="h")


ALL = sorted(set(subclasses(PipelineError)), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", ALL)
def test_an_error_survives_another_process(kind: Any) -> None:
    """With -n 2, doit hands errors from one process to another by pickling them."""
    error = example(kind)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
    assert copy.args == error.args


@pytest.mark.parametrize("kind", ALL)
def test_an_error_is_one_line_and_may_have_a_hint(kind: Any) -> None:
    """Lower case, no full stop; what to do is apart."""
    error = example(kind)
    assert "\n" not in str(error)
    assert error.hint
    assert kind.__doc__


def test_every_class_of_the_module_is_a_pipeline_error() -> None:
    """So that one `except` at the top of a task catches them all."""
    named = {value for value in vars(errors).values() if isinstance(value, type)}
    assert named == {kind for kind in ALL if kind.__module__ == errors.__name__}
    assert len(ALL) > 25


def test_blame_decides_the_branch() -> None:
    """Their bytes, their trust, the request, the network."""
    assert issubclass(FormatError, ValueError)
    assert issubclass(DigestMismatchError, VerificationError)
    assert issubclass(UnsatisfiedError, ResolutionError)
    assert issubclass(ConflictError, ResolutionError)
    assert issubclass(HttpError, FetchError)


@pytest.mark.parametrize(
    ("context", "outer", "want"),
    [
        ("", "packages", "packages"),
        ("sum", "packages[3]", "packages[3].sum"),
        ("[3].sum", "packages", "packages[3].sum"),
        ("a.b", "", "a.b"),
        ("", "", ""),
    ],
)
def test_contexts_are_built_while_unwinding(context: str, outer: str, want: str) -> None:
    """Names are joined by dots, positions are not."""
    error = LockfileError("m", context=context)
    assert error.within(outer) is error
    assert error.context == want
    assert str(error) == (f"{want}: m" if want else "m")


def test_the_document_comes_first() -> None:
    """A file name is no key."""
    assert str(FormatError("m", context="a.b").in_document("x.json")) == "x.json: a.b: m"
    assert str(FormatError("m").in_document("x.json")) == "x.json: m"


def test_a_mismatch_says_got_and_want() -> None:
    """The values are kept for whoever explains."""
    error = DigestMismatchError("layer", got="1", want="2")
    assert (str(error), error.got, error.want) == ("layer: got 1, want 2", "1", "2")


def test_causes_are_pairs() -> None:
    """Of a requirement and who has it."""
    error = UnsatisfiedError("m", causes=[("libx", "a"), ("a", None)])
    assert error.causes == (("libx", "a"), ("a", None))
    assert ResolutionError("m").causes == ()


@pytest.mark.parametrize(
    ("stderr", "last"), [("a\nb\n\n", "b"), ("", "no message"), ("  \n", "no message")]
)
def test_a_command_shows_the_last_line_of_its_complaint(stderr: str, last: str) -> None:
    """The rest is there for whoever looks."""
    error = CommandError(["skopeo", "copy"], 1, stderr)
    assert str(error) == f"skopeo: exit status 1: {last}"
    assert (error.argv, error.status, error.stderr) == (("skopeo", "copy"), 1, stderr)


def test_network_errors_carry_their_codes() -> None:
    """Whoever retries needs them."""
    assert str(HttpError("u", 404)) == "u: HTTP status 404"
    assert str(TooLargeError("u", 9)) == "u: longer than the limit of 9 bytes"
    assert (RegistryError("m").status, RegistryError("m").code) == (0, "")


def test_a_report_is_the_hint() -> None:
    """Where the differences are explained."""
    error = NotReproducibleError("m", differences=["a", "b"], report="out/report.html")
    assert (error.hint, error.differences) == ("see out/report.html", ("a", "b"))
    assert NotReproducibleError("m").hint is None
