"""A small bill of materials that has one of everything."""

from __future__ import annotations

import hashlib

from pipeline.attest.license import license_of
from pipeline.attest.purl import freebsd_purl, oci_purl
from pipeline.attest.sbom import Sbom, SbomFile, SbomLayer, SbomPackage
from pipeline.formats.digest import Digest

MANIFEST = Digest.of(b"manifest")


def file(path: str, content: bytes = b"") -> SbomFile:
    return SbomFile(
        path=path,
        sha1=hashlib.sha1(content).hexdigest(),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def package(name: str, *files: SbomFile, **changes: object) -> SbomPackage:
    fields: dict[str, object] = {
        "name": name,
        "version": "1.0_1,2",
        "purl": freebsd_purl(name, "1.0_1,2", abi="FreeBSD:15:amd64", origin=f"misc/{name}"),
        "origin": f"misc/{name}",
        "repository": "ports",
        "comment": "A thing",
        "description": "A thing.\n\nWith ümlauts.",
        "homepage": "https://example.org/thing",
        "maintainer": "someone@example.org",
        "license": license_of(("BSD2CLAUSE",), "single"),
        "download": f"https://pkg.example.org/All/{name}-1.0_1,2.pkg",
        "digest": Digest.of(name.encode()),
        "layer": "base packages",
        "is_installed": True,
        "files": files,
        "depends_on": (),
    }
    return SbomPackage(**{**fields, **changes})  # type: ignore[arg-type]


def sbom(**changes: object) -> Sbom:
    fields: dict[str, object] = {
        "name": "images/thing",
        "tag": "15.0",
        "release": "15.0",
        "architecture": "amd64",
        "purl": oci_purl("thing", str(MANIFEST), arch="amd64", tag="15.0"),
        "manifest": MANIFEST,
        "created": "2025-12-16T00:00:00Z",
        "format": 1,
        "vendor": "Example Org",
        "license": "BSD-2-Clause",
        "layers": (
            SbomLayer(
                name="base packages",
                digest=Digest.of(b"l0"),
                diff_id=Digest.of(b"d0"),
                files=(),
            ),
            SbomLayer(
                name="base state",
                digest=Digest.of(b"l1"),
                diff_id=Digest.of(b"d1"),
                files=(file("etc/passwd", b"root"), file("var/db/x")),
            ),
        ),
        "packages": (
            package("a+b", license=license_of(("PD", "MIT"), "or"), layer="", homepage="none"),
            package("lib", file("lib/libx.so.1", b"x"), file("lib/libx.so", b"x")),
            package(
                "picked",
                file("etc/odd \udcff name", b"y"),
                is_installed=False,
                license=None,
                download="",
                maintainer="",
            ),
            package("prog", file("bin/prog", b"p"), depends_on=("a+b", "lib")),
        ),
    }
    return Sbom(**{**fields, **changes})  # type: ignore[arg-type]
