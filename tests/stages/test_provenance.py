"""Provenance of images of the embedded declaration, and the lock that travels with them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from pipeline.attest.provenance import Run, reproducible_part
from pipeline.attest.statement import Statement
from pipeline.declaration.reading import parse_declaration
from pipeline.errors import ConfigurationError, LayoutError
from pipeline.formats.digest import Digest
from pipeline.formats.mtree import parse_spec
from pipeline.pkg.lockfile import Lock
from pipeline.stages.plan import check_lock, make_plan
from pipeline.stages.provenance import (
    ProvenanceResult,
    Sources,
    builder_version,
    check_publishable,
    lock_document,
    parse_lock_artifact,
    provenance_inputs,
    recall_provenance,
    write_index_provenance,
    write_provenance,
)
from tests.built_images import Workshop, image_target, index_target

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.stages.sbom import BuiltImage

RUN = Run(builder="urn:here", version={"python": "3.11"})


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop.embedded(tmp_path_factory.mktemp("workshop") / "store")


@pytest.fixture(scope="module")
def image(workshop: Workshop) -> BuiltImage:
    return workshop.build("15.0:amd64:runtime")


def sources(workshop: Workshop, run: Run = RUN) -> Sources:
    return Sources(declaration=workshop.raw_declaration, lock=workshop.raw_lock, run=run)


def write(workshop: Workshop, image: BuiltImage, run: Run = RUN) -> ProvenanceResult:
    return write_provenance(
        image, workshop.declaration, sources(workshop, run), store=workshop.store
    )


def statement(workshop: Workshop, result: ProvenanceResult) -> Statement:
    return Statement.parse(workshop.store.read(result.statement.digest))


def definition(workshop: Workshop, result: ProvenanceResult) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(workshop.store.read(result.definition.digest))
    return document


def test_it_is_about_the_manifest(workshop: Workshop, image: BuiltImage) -> None:
    assert statement(workshop, write(workshop, image)).is_about(image.manifest.digest)


def test_every_package_is_a_dependency(workshop: Workshop, image: BuiltImage) -> None:
    """Of the whole line, installed or only picked, by the digest that the lock pins."""
    build = definition(workshop, write(workshop, image))["buildDefinition"]
    found = {
        d["digest"]["sha256"]: d["annotations"]["use"]
        for d in build["resolvedDependencies"]
        if d.get("uri", "").startswith("pkg:freebsd/")
    }
    wanted = {p.digest.hex for plan in image.plan.lineage for p in plan.sources}
    assert set(found) == wanted
    by_name = {d["name"]: d for d in build["resolvedDependencies"]}
    assert by_name["FreeBSD-caroot-15.0"]["annotations"]["use"] == ["files"]
    assert by_name["FreeBSD-runtime-15.0p1"]["annotations"]["use"] == ["installed", "files"]
    assert by_name["FreeBSD-clibs-15.0p1"]["annotations"]["use"] == ["installed"]


def test_the_catalogue_and_the_key_it_was_accepted_by_are_named(
    workshop: Workshop, image: BuiltImage
) -> None:
    build = definition(workshop, write(workshop, image))["buildDefinition"]
    (repository,) = image.plan.target.repositories
    (catalogue,) = [d for d in build["resolvedDependencies"] if "catalogue" in d["name"]]
    assert catalogue["digest"] == {"sha256": repository.catalogue_digest.hex}
    assert catalogue["annotations"]["acceptedKey"] == repository.fingerprint
    assert catalogue["uri"].startswith("file:fixtures/miniature/")


def test_declaration_and_lock_are_named_by_their_digests(
    workshop: Workshop, image: BuiltImage
) -> None:
    build = definition(workshop, write(workshop, image))["buildDefinition"]
    external = build["externalParameters"]
    assert external["target"] == {
        "release": "15.0",
        "architecture": "amd64",
        "image": "runtime",
    }
    for key, data in (("declaration", workshop.raw_declaration), ("lock", workshop.raw_lock)):
        assert external[key]["digest"] == {"sha256": Digest.of(data).hex}
        assert external[key] in build["resolvedDependencies"]
    assert build["internalParameters"]["format"] == 1
    assert build["internalParameters"]["sourceDateEpoch"] == image.plan.epoch


def test_what_was_computed_in_place_of_scripts_is_told(
    workshop: Workshop, image: BuiltImage
) -> None:
    build = definition(workshop, write(workshop, image))["buildDefinition"]
    told = {entry["image"]: entry for entry in build["internalParameters"]["inPlaceOfScripts"]}
    assert list(told) == ["static", "dynamic", "runtime"]
    assert {"effect": "pwd_mkdb"} in told["static"]["declared"]
    (script,) = told["runtime"]["scripts"]
    assert script["package"] == "FreeBSD-runtime-15.0p1"
    assert script["treatment"] == "computed"


def test_the_package_database_is_a_byproduct(workshop: Workshop, image: BuiltImage) -> None:
    byproducts = definition(workshop, write(workshop, image))["byproducts"]
    by_name = {b["name"]: b["digest"]["sha256"] for b in byproducts}
    spec = parse_spec(workshop.store.read(image.trees[-1].tree.digest))
    database = next(e.digest for e in spec if e.path == "var/db/pkg/local.sqlite")
    assert by_name["/var/db/pkg/local.sqlite"] == database
    diff_ids = [layer.result.diff_id.hex for layer in image.layers]
    assert [b["digest"]["sha256"] for b in byproducts[: len(diff_ids)]] == diff_ids


# ---------------------------------------------------------------- two builders


def test_two_builders_differ_only_where_they_must(
    workshop: Workshop, image: BuiltImage, tmp_path: Path
) -> None:
    """Another machine, another store, another name, another day."""
    other = Workshop.embedded(tmp_path / "store")
    run = Run(builder="urn:there", version={"python": "3.14"}, invocation="7", finished="now")
    ours, theirs = write(workshop, image), write(other, other.build(str(image.plan)), run)
    assert ours.definition == theirs.definition
    assert ours.statement != theirs.statement
    parts = {
        reproducible_part(statement(workshop, ours)),
        reproducible_part(statement(other, theirs)),
        workshop.store.read(ours.definition.digest),
    }
    assert len(parts) == 1


def test_what_this_installation_is_stays_out_of_the_definition(
    workshop: Workshop, image: BuiltImage
) -> None:
    version = builder_version(workshop.declaration)
    assert set(version) == {"pkgbase-oci", "python", "encoder"}
    text = workshop.store.read(write(workshop, image).definition.digest).decode()
    assert version["python"] not in text
    assert version["encoder"] not in text


def test_a_second_time_is_recalled(workshop: Workshop, image: BuiltImage) -> None:
    first = write(workshop, image)
    again = recall_provenance(image, workshop.declaration, sources(workshop), store=workshop.store)
    assert again == first
    changed = replace(sources(workshop), lock=workshop.raw_lock + b"\n")
    assert recall_provenance(image, workshop.declaration, changed, store=workshop.store) is None


def test_inputs_are_the_image_the_files_and_the_builder(
    workshop: Workshop, image: BuiltImage
) -> None:
    target = image_target(image)
    other = replace(sources(workshop), run=Run(builder="urn:there", version={}))
    assert provenance_inputs(target, sources(workshop)) == provenance_inputs(
        target, sources(workshop)
    )
    assert provenance_inputs(target, sources(workshop)) != provenance_inputs(target, other)


# ---------------------------------------------------------------- the index


def test_the_index_came_from_its_platforms(workshop: Workshop) -> None:
    images = [workshop.build(f"15.0:{a}:static") for a in ("amd64", "aarch64")]
    target = index_target(workshop, images)
    result = write_index_provenance(
        target, images, workshop.declaration, sources(workshop), store=workshop.store
    )
    assert statement(workshop, result).is_about(target.digest)
    build = definition(workshop, result)["buildDefinition"]
    assert build["externalParameters"]["target"] == {"release": "15.0", "image": "static"}
    digests = {d["digest"]["sha256"] for d in build["resolvedDependencies"]}
    assert {i.manifest.digest.hex for i in images} <= digests


# ---------------------------------------------------------------- the lock travels


def test_an_image_can_be_rebuilt_from_what_travels_with_it(
    workshop: Workshop, tmp_path: Path
) -> None:
    """The artifact alone, and the repositories, give the same manifest."""
    image = workshop.build("15.0:amd64:static")
    target = image_target(image)
    document = lock_document(
        target, str(image.plan), sources(workshop), format_number=1, store=workshop.store
    )
    manifest = json.loads(workshop.store.read(document.manifest.digest))
    assert manifest["artifactType"] == "application/vnd.pkgbase-oci.lock.v1"
    assert manifest["subject"]["digest"] == str(image.manifest.digest)
    assert manifest["annotations"]["org.pkgbase-oci.format"] == "1"
    files = {
        layer["annotations"]["org.opencontainers.image.title"]: workshop.store.read(
            Digest.parse(layer["digest"])
        )
        for layer in manifest["layers"]
    }
    declaration = parse_declaration(files["images.toml"])
    lock = Lock.parse(files["images.lock.json"])
    check_lock(declaration, lock, what="the artifact")
    rebuilt = replace(
        Workshop.embedded(tmp_path / "store"), plan=make_plan(declaration, lock)
    ).build(manifest["annotations"]["org.pkgbase-oci.target"])
    assert rebuilt.manifest == image.manifest


def test_the_artifact_says_what_it_is(workshop: Workshop) -> None:
    image = workshop.build("15.0:amd64:static")
    document = lock_document(
        image_target(image),
        str(image.plan),
        sources(workshop),
        format_number=1,
        store=workshop.store,
    )
    artifact = parse_lock_artifact(workshop.store.read(document.manifest.digest))
    assert artifact.build_target == "15.0:amd64:static"
    assert artifact.format_number == 1
    assert artifact.subject == image.manifest.digest
    assert workshop.store.read(artifact.declaration.digest) == workshop.raw_declaration
    assert workshop.store.read(artifact.lock.digest) == workshop.raw_lock


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"artifactType": "application/spdx+json"}, "want application/vnd.pkgbase-oci.lock"),
        ({"layers": []}, "'images.toml' is missing"),
        ({"annotations": {}}, "'org.pkgbase-oci.format' is missing"),
        (
            {"annotations": {"org.pkgbase-oci.format": "x", "org.pkgbase-oci.target": "y"}},
            "want a number",
        ),
        ({"subject": None}, "subject"),
    ],
)
def test_what_is_no_lock_artifact_is_refused(
    workshop: Workshop, change: dict[str, object], message: str
) -> None:
    image = workshop.build("15.0:amd64:static")
    document = lock_document(
        image_target(image),
        str(image.plan),
        sources(workshop),
        format_number=1,
        store=workshop.store,
    )
    manifest = json.loads(workshop.store.read(document.manifest.digest))
    with pytest.raises(LayoutError, match=message):
        parse_lock_artifact(json.dumps({**manifest, **change}).encode())


def test_it_is_the_same_whoever_attaches_it(workshop: Workshop, tmp_path: Path) -> None:
    documents = []
    for shop in (workshop, Workshop.embedded(tmp_path / "store")):
        image = shop.build("15.0:amd64:static")
        run = Run(builder=f"urn:{shop.store.root}", version={})
        documents.append(
            lock_document(
                image_target(image, "ghcr.io/somebody/else:1"),
                str(image.plan),
                sources(shop, run),
                format_number=1,
                store=shop.store,
            )
        )
    assert documents[0] == documents[1]


def test_a_declaration_with_an_account_in_it_is_not_published(workshop: Workshop) -> None:
    check_publishable(workshop.declaration)
    (name, repository), *_ = workshop.declaration.repositories.items()
    secret = msgspec.structs.replace(repository, url="https://me:hunter2@pkg.example.org/")
    declaration = msgspec.structs.replace(workshop.declaration, repositories={name: secret})
    with pytest.raises(ConfigurationError) as caught:
        check_publishable(declaration)
    assert "hunter2" not in str(caught.value)
    assert f"repositories.{name}.url has an account in it" in str(caught.value)
