"""References: what docker and podman make of the same text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import FormatError
from pipeline.formats.digest import Digest
from pipeline.oci.reference import Prefix, Reference, api_host, check_host, check_path, check_tag

HEX = "1" * 64

# From github.com/distribution/reference: normalize_test.go, reference_test.go.
COMPLETED = {
    "alpine": "docker.io/library/alpine",
    "alpine:3": "docker.io/library/alpine:3",
    "docker.io/alpine": "docker.io/library/alpine",
    "index.docker.io/alpine": "docker.io/library/alpine",
    "freebsd/freebsd-static:15.0": "docker.io/freebsd/freebsd-static:15.0",
    "registry-1.docker.io/freebsd/runtime": "docker.io/freebsd/runtime",
    "localhost/x": "localhost/x",
    "localhost:5000/x:y": "localhost:5000/x:y",
    "127.0.0.1:5000/fb/x:15.0": "127.0.0.1:5000/fb/x:15.0",
    "[::1]:5000/x": "[::1]:5000/x",
    "ghcr.io/freebsd/freebsd-static:15.0": "ghcr.io/freebsd/freebsd-static:15.0",
    "Registry/x": "Registry/x",
    "xn--n3h.com:18080/name": "xn--n3h.com:18080/name",
    "docker://ghcr.io/a/b:c": "ghcr.io/a/b:c",
    f"a/b@sha256:{HEX}": f"docker.io/a/b@sha256:{HEX}",
    f"ghcr.io/a/b:t@sha256:{HEX}": f"ghcr.io/a/b:t@sha256:{HEX}",
    "h.io/a__b/c--d/e.f": "h.io/a__b/c--d/e.f",
    "foo/bar": "docker.io/foo/bar",
}

REFUSED = (
    *("", ":tag", "@", "Uppercase", "ghcr.io/Upper/x", "ghcr.io/", "ghcr.io//x", "ghcr.io/x/"),
    *("x:", "x:-t", "x:.t", "x:a/b", "a b", "x@sha256:1234", f"x@md5:{HEX}", "x@", "x:t@"),
    *("h.io/a___b", "h.io/a..b", "h.io/-a", "h.io/a-", "-h.io/x", "h_.io/x", "h.io:port/x"),
    *("h.io:65536/x", "h.io:/x", "https://h.io/x", HEX, "x:" + "t" * 129, "h.io/" + "a" * 251),
    *("x\n", "x:t\n", "h.io\n/x", "h.io/x\x00"),
)


@pytest.mark.parametrize(("text", "want"), COMPLETED.items())
def test_short_names_are_completed_as_docker_does(text: str, want: str) -> None:
    assert str(Reference.parse(text)) == want


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        Reference.parse(text)


def test_parts_are_told_apart() -> None:
    reference = Reference.parse(f"127.0.0.1:5000/fb/x:15.0@sha256:{HEX}")
    assert reference.host == "127.0.0.1:5000"
    assert reference.path == "fb/x"
    assert reference.tag == "15.0"
    assert reference.digest == Digest(HEX)
    assert reference.name == "127.0.0.1:5000/fb/x"


def test_a_digest_is_wanted_before_a_tag_and_a_tag_before_latest() -> None:
    assert Reference.parse(f"h.io/x:t@sha256:{HEX}").wanted == f"sha256:{HEX}"
    assert Reference.parse("h.io/x:t").wanted == "t"
    assert Reference.parse("h.io/x").wanted == "latest"


def test_a_value_is_checked_however_it_is_made() -> None:
    with pytest.raises(FormatError, match="repository"):
        Reference(host="h.io", path="../x")
    with pytest.raises(FormatError, match="tag"):
        Reference(host="h.io", path="x", tag="a b")
    with pytest.raises(FormatError, match="registry"):
        Reference(host="h.io/x", path="x")


def test_the_longest_name_is_that_of_other_clients() -> None:
    assert len(Reference.parse("h.io/" + "a" * 250).name) == 255


def test_the_error_names_the_reference() -> None:
    with pytest.raises(FormatError, match=r"reference 'h.io/UP'"):
        Reference.parse("h.io/UP")


def test_docker_io_answers_elsewhere() -> None:
    assert api_host("docker.io") == "registry-1.docker.io"
    assert api_host("ghcr.io") == "ghcr.io"


def test_with_digest_keeps_the_rest() -> None:
    assert str(Reference.parse("h.io/x:t").with_digest(Digest(HEX))) == f"h.io/x:t@sha256:{HEX}"


@pytest.mark.parametrize(
    ("text", "host", "path"),
    [
        ("ghcr.io/freebsd", "ghcr.io", "freebsd"),
        ("ghcr.io/freebsd/base/", "ghcr.io", "freebsd/base"),
        ("127.0.0.1:5000", "127.0.0.1:5000", ""),
        ("localhost", "localhost", ""),
        ("docker.io/freebsd", "docker.io", "freebsd"),
        ("docker://index.docker.io/freebsd", "docker.io", "freebsd"),
    ],
)
def test_a_prefix_is_a_registry_and_perhaps_a_namespace(text: str, host: str, path: str) -> None:
    prefix = Prefix.parse(text)
    assert (prefix.host, prefix.path) == (host, path)
    assert prefix.repository("x") == (f"{path}/x" if path else "x")
    assert Prefix.parse(str(prefix)) == prefix


@pytest.mark.parametrize("text", ["", "freebsd", "freebsd/x", "ghcr.io/Upper", "https://h.io/x"])
def test_what_is_no_prefix_is_refused(text: str) -> None:
    """Without a host it might be meant for docker.io, or be a slip: nothing is guessed."""
    with pytest.raises(FormatError):
        Prefix.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        *("me:hunter2@h.io/x:t", "hunter2@h.io/x", "docker://me:hunter2@h.io/x", "me:hunter2@h"),
        *("https://me:hunter2@h.io/x", f"me:hunter2@h.io/x@sha256:{HEX}"),
    ],
)
def test_an_account_in_a_name_is_refused_and_not_repeated(text: str) -> None:
    for parse in (Reference.parse, *(() if "://" in text else (Prefix.parse, check_host))):
        with pytest.raises(FormatError) as caught:
            parse(text)
        assert "hunter2" not in str(caught.value)
        assert "…@h" in str(caught.value)


PATHS = st.from_regex(r"\A[a-z0-9]{1,8}([._-][a-z0-9]{1,4})?(/[a-z0-9]{1,8}){0,3}\Z")
TAGS = st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}\Z")


@pytest.mark.property
@given(path=PATHS, tag=st.none() | TAGS, has_digest=st.booleans())
def test_a_reference_reads_as_it_is_written(path: str, tag: str | None, has_digest: bool) -> None:
    reference = Reference(
        host="h.io:1", path=path, tag=tag, digest=Digest(HEX) if has_digest else None
    )
    assert Reference.parse(str(reference)) == reference


@pytest.mark.property
@given(st.text(max_size=40))
def test_whatever_is_parsed_is_valid(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except FormatError:
        return
    assert check_path(reference.path)
    assert reference.tag is None or check_tag(reference.tag)
    assert Reference.parse(str(reference)) == reference
