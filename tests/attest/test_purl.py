"""Package URLs, judged by packageurl-python."""

from __future__ import annotations

import pytest
from packageurl import PackageURL

from pipeline.attest.purl import freebsd_purl, oci_purl


@pytest.mark.parametrize(
    ("name", "version", "origin"),
    [
        ("FreeBSD-runtime", "15.0p1", "base"),
        ("libwidget", "3.1.4_2,1", "devel/libwidget"),
        ("py311-x+y", "1.0.a1~b", "misc/x+y@flavor"),
    ],
)
def test_packages_have_canonical_urls(name: str, version: str, origin: str) -> None:
    text = freebsd_purl(name, version, abi="FreeBSD:15:amd64", origin=origin)
    url = PackageURL.from_string(text)
    assert (url.type, url.name, url.version) == ("freebsd", name, version)
    assert url.qualifiers == {"arch": "FreeBSD:15:amd64", "origin": origin}
    assert url.to_string() == text


def test_a_package_is_called_like_this() -> None:
    assert (
        freebsd_purl("libwidget", "3.1.4_2,1", abi="FreeBSD:15:*", origin="devel/libwidget")
        == "pkg:freebsd/libwidget@3.1.4_2%2C1?arch=FreeBSD:15:%2A&origin=devel/libwidget"
    )


def test_images_have_canonical_urls() -> None:
    text = oci_purl("freebsd-static", "sha256:00ff", arch="amd64", tag="15.0")
    assert text == "pkg:oci/freebsd-static@sha256:00ff?arch=amd64&tag=15.0"
    assert PackageURL.from_string(text).to_string() == text


def test_empty_qualifiers_are_left_out() -> None:
    assert oci_purl("x", "sha256:00", arch="", tag="") == "pkg:oci/x@sha256:00"
