"""CycloneDX 1.6, judged by the schema that cyclonedx-python-lib carries."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.attest.sbom_cyclonedx import to_cyclonedx
from tests.attest.sboms import MANIFEST, package, sbom

if TYPE_CHECKING:
    from cyclonedx.validation.json import JsonStrictValidator


@pytest.fixture(scope="module")
def validator() -> JsonStrictValidator:
    """Return the judge, which takes seconds to import."""
    from cyclonedx.schema import SchemaVersion  # noqa: PLC0415
    from cyclonedx.validation.json import JsonStrictValidator  # noqa: PLC0415

    return JsonStrictValidator(SchemaVersion.V1_6)


def document() -> dict[str, Any]:
    result: dict[str, Any] = json.loads(to_cyclonedx(sbom()))
    return result


def component(name: str) -> dict[str, Any]:
    return next(c for c in document()["components"] if c["name"] == name)


@pytest.mark.parametrize(
    "changes",
    [{}, {"vendor": "", "license": ""}, {"packages": (), "layers": ()}],
    ids=["full", "little", "nothing"],
)
def test_the_schema_holds(changes: dict[str, object], validator: JsonStrictValidator) -> None:
    assert validator.validate_str(to_cyclonedx(sbom(**changes)).decode()) is None


def test_the_schema_would_complain(validator: JsonStrictValidator) -> None:
    d = document()
    d["components"][0]["type"] = "nothing"
    assert validator.validate_str(json.dumps(d)) is not None


def test_time_and_serial_number_are_no_ones() -> None:
    d = document()
    assert d["metadata"]["timestamp"] == "2025-12-16T00:00:00Z"
    assert d["metadata"]["tools"]["components"] == [
        {"type": "application", "name": "pkgbase-oci", "version": "1"}
    ]
    assert d["serialNumber"] == document()["serialNumber"]
    other = json.loads(to_cyclonedx(sbom(packages=())))
    assert other["serialNumber"] != d["serialNumber"]
    version, variant = d["serialNumber"].split("-")[2:4]
    assert (version[0], variant[0] in "89ab") == ("8", True)


def test_the_image_is_what_it_is_about() -> None:
    image = document()["metadata"]["component"]
    assert image["type"] == "container"
    assert image["hashes"] == [{"alg": "SHA-256", "content": MANIFEST.hex}]
    names = [p["value"] for p in image["properties"] if p["name"].endswith(":name")]
    assert names == ["base packages", "base state"]


def test_scanners_find_the_system() -> None:
    assert component("freebsd")["type"] == "operating-system"
    assert component("freebsd")["version"] == "15.0"


def test_packages_have_purl_licence_layer_and_files() -> None:
    lib = component("lib")
    assert lib["purl"] == "pkg:freebsd/lib@1.0_1%2C2?arch=FreeBSD:15:amd64&origin=misc/lib"
    assert lib["licenses"] == [{"license": {"id": "BSD-2-Clause"}}]
    assert {"name": "pkgbase-oci:layer", "value": "base packages"} in lib["properties"]
    assert [f["name"] for f in lib["components"]] == ["/lib/libx.so.1", "/lib/libx.so"]
    assert component("a+b")["licenses"] == [{"expression": "LicenseRef-FreeBSD-PD OR MIT"}]
    assert {"name": "pkgbase-oci:installed", "value": "false"} in component("picked")["properties"]


def test_files_of_no_package_name_their_layer() -> None:
    passwd = component("/etc/passwd")
    assert passwd["type"] == "file"
    assert passwd["properties"] == [{"name": "pkgbase-oci:layer", "value": "base state"}]


def test_dependencies_are_purls() -> None:
    edges = {d["ref"]: d["dependsOn"] for d in document()["dependencies"]}
    prog, lib, both = (component(n)["purl"] for n in ("prog", "lib", "a+b"))
    assert edges[prog] == [both, lib]
    image = document()["metadata"]["component"]["purl"]
    assert set(edges[image]) >= {prog, lib, both, "freebsd@15.0"}


@pytest.mark.parametrize("url", ["none", "https://a b", "javascript:x", "https://e.org/\n"])
def test_what_is_no_url_is_left_out(url: str, validator: JsonStrictValidator) -> None:
    """A blank in it would break the schema's iri-reference."""
    text = to_cyclonedx(sbom(packages=(package("x", homepage=url, download=url),))).decode()
    assert validator.validate_str(text) is None
    assert "externalReferences" not in text


def test_a_name_that_is_no_text_is_escaped() -> None:
    (odd,) = component("picked")["components"]
    assert odd["name"] == "/etc/odd \\xff name"


def test_packages_are_unique_by_reference() -> None:
    d = json.loads(to_cyclonedx(sbom(packages=(package("a+b"), package("a-b")))))
    refs = [c["bom-ref"] for c in d["components"] if "bom-ref" in c]
    assert len(set(refs)) == len(refs)
