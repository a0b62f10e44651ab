"""SPDX 2.3, judged by spdx-tools."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from pipeline.attest.license import license_of
from pipeline.attest.sbom import content_uuid
from pipeline.attest.sbom_spdx import to_spdx
from tests.attest.sboms import MANIFEST, file, package, sbom
from tests.elsewhere import run_elsewhere

if TYPE_CHECKING:
    from pipeline.attest.sbom import Sbom


def document(bom: Sbom | None = None) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(to_spdx(bom or sbom()))
    return result


def of(parts: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(part for part in parts if part["name"] == name)


def problems(d: dict[str, Any]) -> list[str]:
    parsed = JsonLikeDictParser().parse(d)  # type: ignore[no-untyped-call]
    return [m.validation_message for m in validate_full_spdx_document(parsed)]


@pytest.mark.parametrize(
    "changes",
    [{}, {"vendor": "", "license": ""}, {"packages": (), "layers": ()}],
    ids=["full", "little", "nothing"],
)
def test_spdx_tools_find_nothing_to_complain_of(changes: dict[str, object]) -> None:
    assert problems(document(sbom(**changes))) == []


def test_the_validator_would_complain() -> None:
    d = document()
    lib = of(d["packages"], "lib")
    lib["filesAnalyzed"] = False
    del lib["packageVerificationCode"]
    assert "must contain no elements" in problems(d)[0]


def test_time_and_names_are_no_ones() -> None:
    d = document()
    assert d["creationInfo"] == {
        "created": "2025-12-16T00:00:00Z",
        "creators": ["Tool: pkgbase-oci-1", "Organization: Example Org"],
    }
    rest = {key: value for key, value in d.items() if key != "documentNamespace"}
    assert d["documentNamespace"] == (
        f"https://spdx.org/spdxdocs/images/thing-15.0-amd64-{content_uuid(rest)}"
    )


def test_other_content_has_another_namespace() -> None:
    other = document(sbom(packages=()))
    assert document()["documentNamespace"] != other["documentNamespace"]


def test_the_image_is_named_by_its_digest() -> None:
    image = document()["packages"][0]
    assert image["primaryPackagePurpose"] == "CONTAINER"
    assert image["checksums"] == [{"algorithm": "SHA256", "checksumValue": MANIFEST.hex}]
    assert image["externalRefs"][0]["referenceLocator"].startswith("pkg:oci/thing@sha256:")
    assert image["licenseDeclared"] == "BSD-2-Clause"


def test_everything_hangs_on_the_image() -> None:
    """Image, layer, package, file: each contains the next."""
    d = document()
    edges = {
        (r["spdxElementId"], r["relationshipType"], r["relatedSpdxElement"])
        for r in d["relationships"]
    }
    files = {f["fileName"]: f["SPDXID"] for f in d["files"]}
    lib = of(d["packages"], "lib")["SPDXID"]
    layer = of(d["packages"], "base packages")["SPDXID"]
    state = of(d["packages"], "base state")["SPDXID"]
    bare = of(d["packages"], "a+b")["SPDXID"]
    assert {
        ("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-Image"),
        ("SPDXRef-Image", "CONTAINS", layer),
        ("SPDXRef-Image", "CONTAINS", bare),
        (layer, "CONTAINS", lib),
        (lib, "CONTAINS", files["./lib/libx.so.1"]),
        (state, "CONTAINS", files["./etc/passwd"]),
        (of(d["packages"], "prog")["SPDXID"], "DEPENDS_ON", lib),
    } <= edges
    contained = {b for _, kind, b in edges if kind == "CONTAINS"}
    assert contained == {p["SPDXID"] for p in d["packages"][1:]} | set(files.values())


def test_files_have_both_sums_and_packages_a_verification_code() -> None:
    """SPDX 2.3, 7.9: sha1 over the files' sorted sha1."""
    d = document()
    passwd = next(f for f in d["files"] if f["fileName"] == "./etc/passwd")
    assert passwd["checksums"] == [
        {"algorithm": "SHA1", "checksumValue": hashlib.sha1(b"root").hexdigest()},
        {"algorithm": "SHA256", "checksumValue": hashlib.sha256(b"root").hexdigest()},
    ]
    code = hashlib.sha1((hashlib.sha1(b"x").hexdigest() * 2).encode()).hexdigest()
    assert of(d["packages"], "lib")["packageVerificationCode"] == {
        "packageVerificationCodeValue": code
    }
    assert of(d["packages"], "a+b")["filesAnalyzed"] is False


def test_a_verification_code_does_not_depend_on_the_order_of_files() -> None:
    sums = sorted(hashlib.sha1(content).hexdigest() for content in (b"1", b"2", b"3"))
    code = hashlib.sha1("".join(sums).encode()).hexdigest()
    for order in itertools.permutations((b"1", b"2", b"3")):
        files = [file(str(number), content) for number, content in enumerate(order)]
        d = json.loads(to_spdx(sbom(packages=(package("lib", *files),))))
        assert of(d["packages"], "lib")["packageVerificationCode"] == {
            "packageVerificationCodeValue": code
        }


def test_licences_whose_names_become_one_are_explained_once() -> None:
    """Identifiers are unique in a document (SPDX 2.3, 10.1)."""
    licenses = [license_of((name,), "single") for name in ("my_own", "my-own", "other")]
    packages = tuple(package(str(n), license=found) for n, found in enumerate(licenses))
    d = json.loads(to_spdx(sbom(packages=packages)))
    assert [(e["licenseId"], e["name"]) for e in d["hasExtractedLicensingInfos"]] == [
        ("LicenseRef-FreeBSD-my-own", "my-own or my_own"),
        ("LicenseRef-FreeBSD-other", "other"),
    ]


def test_licences_are_declared_and_unknown_ones_explained() -> None:
    d = document()
    assert of(d["packages"], "a+b")["licenseDeclared"] == "LicenseRef-FreeBSD-PD OR MIT"
    assert of(d["packages"], "picked")["licenseDeclared"] == "NOASSERTION"
    (extracted,) = d["hasExtractedLicensingInfos"]
    assert extracted["licenseId"] == "LicenseRef-FreeBSD-PD"
    assert {p["licenseConcluded"] for p in d["packages"]} == {"NOASSERTION"}


def test_what_is_no_url_is_left_out() -> None:
    d = document()
    assert "homepage" not in of(d["packages"], "a+b")
    assert of(d["packages"], "picked")["downloadLocation"] == "NOASSERTION"
    assert of(d["packages"], "lib")["downloadLocation"].startswith("https://")


def test_a_package_that_only_gave_files_says_so() -> None:
    d = document()
    assert "not installed" in of(d["packages"], "picked")["sourceInfo"]
    assert "not installed" not in of(d["packages"], "lib")["sourceInfo"]


def test_identifiers_stay_apart() -> None:
    """Names that differ only in what an identifier cannot hold."""
    both = sbom(packages=(package("a+b"), package("a-b"), package("a_b")))
    ids = [p["SPDXID"] for p in document(both)["packages"]]
    assert len(set(ids)) == len(ids)
    assert "SPDXRef-Package-a-b" in ids


def test_order_does_not_matter() -> None:
    bom = sbom()
    shuffled = replace(
        bom,
        packages=tuple(
            replace(p, files=tuple(reversed(p.files)), depends_on=tuple(reversed(p.depends_on)))
            for p in bom.packages
        ),
    )
    assert to_spdx(shuffled) == to_spdx(bom)


def test_surroundings_do_not_matter() -> None:
    code = (
        "import hashlib\n"
        "from tests.attest.sboms import sbom\n"
        "from pipeline.attest.sbom_spdx import to_spdx\n"
        "from pipeline.attest.sbom_cyclonedx import to_cyclonedx\n"
        "print(hashlib.sha256(to_spdx(sbom()) + to_cyclonedx(sbom())).hexdigest())"
    )
    assert len(run_elsewhere(code)) == 1
