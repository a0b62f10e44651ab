"""What the SBOMs say of images of the embedded declaration."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from pipeline.attest.statement import PredicateType, Statement
from pipeline.formats.mtree import Kind, parse_spec
from pipeline.host.layout import PublishedLayout
from pipeline.pkg.manifest import PackageManifest
from pipeline.stages.attest import is_published, publish
from pipeline.stages.content import ContentSource
from pipeline.stages.sbom import (
    BuiltImage,
    SbomResult,
    public_url,
    recall_sbom,
    sbom_documents,
    sbom_inputs,
    write_sbom,
)
from pipeline.stages.sbom_reader import file_sums, needed_packages
from tests.built_images import Workshop, image_target

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ["15.0:amd64:static", "14.3:aarch64:dynamic", "15.0:amd64:runtime"]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop.embedded(tmp_path_factory.mktemp("workshop") / "store")


@pytest.fixture(scope="module", params=NAMES)
def image(request: pytest.FixtureRequest, workshop: Workshop) -> BuiltImage:
    return workshop.build(request.param)


def write(workshop: Workshop, image: BuiltImage) -> SbomResult:
    return write_sbom(
        image,
        workshop.declaration,
        packages=functools.partial(workshop.packages, image.plan),
        store=workshop.store,
    )


def spdx(workshop: Workshop, image: BuiltImage) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(workshop.store.read(write(workshop, image).spdx.digest))
    return result


def tree_files(workshop: Workshop, image: BuiltImage) -> dict[str, str]:
    """Return sha256 by path of all files of an image."""
    spec = parse_spec(workshop.store.read(image.trees[-1].tree.digest))
    return {entry.path: entry.digest for entry in spec if entry.kind is Kind.FILE}


def shown(path: str) -> str:
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


# ---------------------------------------------------------------- validity


def test_both_documents_are_valid(workshop: Workshop, image: BuiltImage) -> None:
    result = write(workshop, image)
    parsed = JsonLikeDictParser().parse(spdx(workshop, image))  # type: ignore[no-untyped-call]
    assert [m.validation_message for m in validate_full_spdx_document(parsed)] == []
    text = workshop.store.read(result.cyclonedx.digest).decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_every_file_is_there_once_with_its_sums(workshop: Workshop, image: BuiltImage) -> None:
    d = spdx(workshop, image)
    want = {f"./{shown(p)}": sha256 for p, sha256 in tree_files(workshop, image).items()}
    got = {
        f["fileName"]: next(
            c["checksumValue"] for c in f["checksums"] if c["algorithm"] == "SHA256"
        )
        for f in d["files"]
    }
    assert got == want
    assert len(got) == len(d["files"]) > 20
    owners = [
        r["relatedSpdxElement"]
        for r in d["relationships"]
        if r["relationshipType"] == "CONTAINS" and "-File-" in r["relatedSpdxElement"]
    ]
    assert sorted(owners) == sorted(f["SPDXID"] for f in d["files"])


def test_sha1_is_that_of_the_content(workshop: Workshop, image: BuiltImage) -> None:
    d = spdx(workshop, image)
    sums = {
        f["fileName"]: {c["algorithm"]: c["checksumValue"] for c in f["checksums"]}
        for f in d["files"]
    }
    packages = workshop.packages(image.plan).values()
    spec = parse_spec(workshop.store.read(image.trees[-1].tree.digest))
    with ContentSource(packages, store=workshop.store) as content:
        for entry in spec:
            if entry.kind is Kind.FILE:
                data = content.read(entry)
                assert sums[f"./{shown(entry.path)}"]["SHA1"] == hashlib.sha1(data).hexdigest()


def test_sums_are_computed_once_a_package(workshop: Workshop) -> None:
    package = workshop.packages(workshop.plan.images["15.0:amd64:static"])["FreeBSD-zoneinfo"]
    sums = file_sums(package, store=workshop.store)
    lines = workshop.store.read(package.extents.digest).decode().splitlines()
    assert set(sums) == {line.split(" ")[0] for line in lines}
    assert workshop.store.recall(
        "sums",
        {"payload": str(package.payload.digest), "extents": str(package.extents.digest)},
    )


# ---------------------------------------------------------------- packages


def test_packages_have_layer_licence_and_purl(workshop: Workshop) -> None:
    d = spdx(workshop, workshop.build("15.0:amd64:runtime"))
    packages = {p["name"]: p for p in d["packages"]}
    runtime = packages["FreeBSD-runtime"]
    assert runtime["versionInfo"] == "15.0p1"
    assert runtime["licenseDeclared"] == "BSD-2-Clause"
    assert runtime["externalRefs"][0]["referenceLocator"] == (
        "pkg:freebsd/FreeBSD-runtime@15.0p1?arch=FreeBSD:15:amd64&origin=base"
    )
    layer = packages["runtime packages"]["SPDXID"]
    edges = {
        (r["spdxElementId"], r["relationshipType"], r["relatedSpdxElement"])
        for r in d["relationships"]
    }
    assert (layer, "CONTAINS", runtime["SPDXID"]) in edges
    clibs = packages["FreeBSD-clibs"]["SPDXID"]
    assert (packages["dynamic packages"]["SPDXID"], "CONTAINS", clibs) in edges
    assert (runtime["SPDXID"], "DEPENDS_ON", clibs) in edges


def test_all_installed_packages_are_there(workshop: Workshop, image: BuiltImage) -> None:
    installed = {p.name for plan in image.plan.lineage for p in plan.packages}
    picked = {p.name for p in image.picks()}
    names = {p["name"] for p in spdx(workshop, image)["packages"]}
    assert installed <= names
    assert installed & picked == set()
    assert {n for n in names if n.startswith("FreeBSD-")} <= installed | picked


def test_files_taken_out_of_a_package_name_it(workshop: Workshop) -> None:
    """Static does not install caroot, but has its certificates."""
    d = spdx(workshop, workshop.build("15.0:amd64:static"))
    packages = {p["name"]: p for p in d["packages"]}
    files = {f["SPDXID"]: f["fileName"] for f in d["files"]}
    taken = {
        files[r["relatedSpdxElement"]]
        for r in d["relationships"]
        if r["spdxElementId"] == packages["FreeBSD-caroot"]["SPDXID"]
        and r["relationshipType"] == "CONTAINS"
    }
    assert "./usr/share/certs/trusted/Cedar_ECC.pem" in taken
    assert all(name.startswith("./usr/share/certs/") for name in taken)
    assert "not installed" in packages["FreeBSD-caroot"]["sourceInfo"]
    moved = {
        files[r["relatedSpdxElement"]]
        for r in d["relationships"]
        if r["spdxElementId"] == packages["FreeBSD-runtime"]["SPDXID"]
        and r["relationshipType"] == "CONTAINS"
    }
    assert "./usr/share/misc/termcap" in moved


def test_a_package_that_is_installed_later_is_listed_once(workshop: Workshop) -> None:
    """Static takes files out of FreeBSD-runtime; runtime installs it."""
    image = workshop.build("15.0:amd64:runtime")
    names = [p["name"] for p in spdx(workshop, image)["packages"]]
    assert names.count("FreeBSD-runtime") == 1
    assert [p.name for p in image.picks()] == ["FreeBSD-caroot"]


def test_computed_files_belong_to_their_layer(workshop: Workshop) -> None:
    d = spdx(workshop, workshop.build("15.0:amd64:runtime"))
    packages = {p["name"]: p["SPDXID"] for p in d["packages"]}
    files = {f["fileName"]: f["SPDXID"] for f in d["files"]}
    edges = {(r["spdxElementId"], r["relatedSpdxElement"]) for r in d["relationships"]}
    assert (packages["runtime state"], files["./var/db/pkg/local.sqlite"]) in edges


def manifest(name: str, **fields: object) -> PackageManifest:
    document: dict[str, object] = {
        "name": name,
        "origin": f"misc/{name}",
        "version": "1",
        "comment": "",
        "desc": "",
        "maintainer": "",
        "www": "",
        "prefix": "/usr/local",
        **fields,
    }
    return PackageManifest.from_dict(document)


def test_dependencies_are_found_by_name_library_feature_and_formula() -> None:
    manifests = {
        m.name: m
        for m in (
            manifest("a", shlibs_provided=["liba.so.1"], provides=["feature"]),
            manifest("b", shlibs_required=["liba.so.1", "libabsent.so.2"]),
            manifest("c", requires=["feature"], deps={"b": {"origin": "misc/b", "version": "1"}}),
            manifest("d", dep_formula="a >= 1, absent | b"),
            manifest("e", shlibs_provided=["libe.so"], shlibs_required=["libe.so"]),
        )
    }
    assert needed_packages(manifests) == {
        "a": (),
        "b": ("a",),
        "c": ("a", "b"),
        "d": ("a", "b"),
        "e": (),
    }


# ---------------------------------------------------------------- statements, artifacts


def test_statements_say_that_the_documents_are_the_images(
    workshop: Workshop, image: BuiltImage
) -> None:
    result = write(workshop, image)
    for blob, document, kind in (
        (result.statements[0], result.spdx, PredicateType.SPDX),
        (result.statements[1], result.cyclonedx, PredicateType.CYCLONEDX),
    ):
        statement = Statement.parse(workshop.store.read(blob.digest))
        assert statement.predicate_type == kind
        assert statement.is_about(image.manifest.digest)
        assert statement.predicate == json.loads(workshop.store.read(document.digest))


def test_documents_are_artifacts_of_the_image(
    workshop: Workshop, image: BuiltImage, tmp_path: Path
) -> None:
    result = write(workshop, image)
    target = image_target(image)
    documents = sbom_documents(target, result, store=workshop.store)
    kinds = {}
    for document in documents:
        manifest_ = json.loads(workshop.store.read(document.manifest.digest))
        assert manifest_["subject"]["digest"] == str(image.manifest.digest)
        (layer,) = manifest_["layers"]
        kinds[manifest_["artifactType"]] = layer["digest"]
        assert layer["mediaType"] == manifest_["artifactType"]
        assert layer["annotations"]["org.opencontainers.image.title"].startswith("freebsd-")
    assert kinds == {
        "application/spdx+json": str(result.spdx.digest),
        "application/vnd.cyclonedx+json": str(result.cyclonedx.digest),
    }
    layout = PublishedLayout(tmp_path / "attest", store=workshop.store)
    assert not is_published(documents, layout=layout)
    publish(documents, layout=layout)
    assert is_published(documents, layout=layout)


# ---------------------------------------------------------------- caching


def test_a_second_time_reads_nothing(workshop: Workshop, image: BuiltImage) -> None:
    first = write(workshop, image)

    def packages() -> dict[str, Any]:
        raise AssertionError("there is no work")

    again = write_sbom(image, workshop.declaration, packages=packages, store=workshop.store)
    assert again == first
    assert recall_sbom(image, workshop.declaration, store=workshop.store) == first


def test_another_store_gives_the_same_bytes(workshop: Workshop, tmp_path: Path) -> None:
    other = Workshop.embedded(tmp_path / "store")
    name = "15.0:amd64:static"
    assert write(other, other.build(name)) == write(workshop, workshop.build(name))


def test_what_is_said_of_the_image_is_an_input(workshop: Workshop) -> None:
    image = workshop.build("15.0:amd64:static")
    before = sbom_inputs(image, workshop.declaration)
    licensed = replace(
        image,
        plan=replace(
            image.plan, image=msgspec.structs.replace(image.plan.image, licenses="BSD-3-Clause")
        ),
    )
    assert sbom_inputs(licensed, workshop.declaration) != before


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("pkg+https://pkg.FreeBSD.org/x", "https://pkg.FreeBSD.org/x"),
        ("https://me:secret@pkg.example.org/x", "https://pkg.example.org/x"),
        ("file:fixtures/x@y", "file:fixtures/x@y"),
        ("https://pkg.example.org/x@y", "https://pkg.example.org/x@y"),
    ],
)
def test_urls_are_published_without_accounts(url: str, public: str) -> None:
    assert public_url(url) == public
