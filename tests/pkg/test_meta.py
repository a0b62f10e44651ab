"""meta.conf: versions, names, and what a hostile one may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import PackagesiteError
from pipeline.pkg.meta import DEFAULT_META, Meta, PackingFormat

REPOSITORIES = Path(__file__).parents[2] / "fixtures" / "repositories"


def test_reads_every_golden_meta() -> None:
    paths = sorted(REPOSITORIES.glob("*/meta.conf"))
    assert len(paths) > 15
    for path in paths:
        meta = Meta.parse(path.read_bytes())
        assert (meta.data, meta.manifests) == ("data", "packagesite.yaml")
        assert meta.version == (1 if path.parent.name == "meta-v1" else 2)
        if path.parent.name.startswith("packing-"):
            assert meta.packing_format == path.parent.name.removeprefix("packing-")


def test_defaults_are_those_of_pkg() -> None:
    assert Meta.parse(b"version = 2") == DEFAULT_META
    assert DEFAULT_META.packing_format is PackingFormat.TZST


def test_keys_are_read_in_any_case() -> None:
    """Pkg parses meta.conf with UCL_PARSER_KEY_LOWERCASE; what it stores itself is JSON."""
    meta = Meta.parse(
        b'{"VERSION":1,"Packing_Format":"txz","manifests":"list.yaml","data":"index"}'
    )
    assert meta == Meta(
        version=1,
        packing_format=PackingFormat.TXZ,
        data="index",
        manifests="list.yaml",
        certificates={},
    )


def test_names_of_archives() -> None:
    """The extension of a member is cut off, then .pkg and the packing format are tried."""
    meta = Meta.parse(b"version = 2; packing_format = txz")
    assert meta.archive_names(meta.data) == ("data.pkg", "data.txz")
    assert meta.archive_names(meta.manifests) == ("packagesite.pkg", "packagesite.txz")
    assert meta.archive_names("a.b.yaml") == ("a.b.pkg", "a.b.txz")


def test_certificates_are_kept() -> None:
    meta = Meta.parse(
        b"""version = 1
        cert { type = rsa; name = data; data = "PEM 1" }
        cert { type = rsa; name = packagesite.yaml; data = "PEM 2" }"""
    )
    assert meta.certificates == {"data": b"PEM 1", "packagesite.yaml": b"PEM 2"}
    one = Meta.parse(b"version = 1; cert { type = rsa; name = data; data = PEM }")
    assert one.certificates == {"data": b"PEM"}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "version: missing"),
        (b'packing_format = "tzst"', "version: missing"),
        (b"version = 3", "version: got 3, want 1 or 2"),
        (b"version = 0", "version: got 0, want 1 or 2"),
        (b'version = "2"', "version: got a string, want an integer"),
        (b"version = 2.0", "version: got Decimal, want an integer"),
        (b"version = 2; version = 1", "version: got a list, want an integer"),
        (b"version = 2; packing_format = zip", "packing_format: got 'zip', want one of tzst"),
        (b"version = 2; packing_format = 1", "packing_format: got an integer"),
        (b'version = 2; data = ["data"]', "data: got a list, want a string"),
        (b"version = 2; cert = x", "cert[0]: got a string, want an object"),
        (b"version = 2; cert { name = x }", "cert[0].data: missing"),
        (b"}{ not ucl", "line 1, column 1: got '}', want a key"),
        (b"version = 2\n.include /etc/passwd", "line 2, column 1: macros are not accepted"),
        (b"\xff", "not UTF-8"),
    ],
)
def test_malformed_meta(raw: bytes, message: str) -> None:
    with pytest.raises(PackagesiteError) as caught:
        Meta.parse(raw)
    assert message in str(caught.value)


@pytest.mark.parametrize("key", ["data", "manifests"])
@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "/etc/passwd", "a/b", "..", ".", ".hidden", "", "a b", "a?b", "a%2fb", "a#b",
     "http://x/", "data.sig", "data.pub", "-x", "x" * 101, "a\\\\b", "é"],
)  # fmt: skip
def test_unsafe_names_are_refused(key: str, name: str) -> None:
    with pytest.raises(PackagesiteError, match=f"{key}: got '.*', want a plain file name"):
        Meta.parse(f'version = 2; {key} = "{name}"'.encode())
