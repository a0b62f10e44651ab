"""Images: layers, configs, manifests and indexes anew, everything that they say as it was."""

from __future__ import annotations

import json
import shutil
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.errors import (
    ArchiveError,
    ConfigurationError,
    DatabaseError,
    DigestMismatchError,
    LayoutError,
    PipelineError,
)
from pipeline.formats.algorithm import Algorithm
from pipeline.host.layout import Layout as OurLayout
from pipeline.oci.validate import validate_layout
from pipeline.rootfs.normalise import Rules
from pipeline.rootfs.ownership import Owners
from pipeline.stages.canonicalize_database import DatabaseRules
from pipeline.stages.canonicalize_image import ImageRules, canonicalize_image
from pipeline.stages.layout_place import Place
from tests.foreign import (
    CONFIG,
    DATABASE,
    DATABASES,
    EPOCH,
    INDEX,
    MANIFEST,
    REF_NAME,
    SAME,
    Image,
    Layout,
    Node,
    blob,
    content,
    document,
    folder,
    hard,
    later,
    layers,
    members,
    named,
    pack,
    root,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pipeline.stages.canonicalize_image import ImageChange

TIME = "2023-11-14T22:13:20Z"


def run(
    source: str,
    output: str,
    *,
    algorithm: str | None = None,
    dry_run: bool = False,
    **rules: Any,
) -> ImageChange:
    """Canonicalize with the usual rules."""
    return canonicalize_image(
        Place.parse(source),
        Place.parse(output),
        rules=ImageRules(
            archive=Rules(
                source_date_epoch=EPOCH,
                is_layer=True,
                owners=Owners.IDS,
                keep_flags=False,
                drop_attributes=rules.get("drop_attributes", False),
                drop_devices=False,
            ),
            database=DatabaseRules(schema=None, source_date_epoch=EPOCH),
            algorithm=None if algorithm is None else Algorithm(algorithm),
            level=None,
        ),
        dry_run=dry_run,
    )


def files(path: Path) -> dict[str, bytes]:
    """Return everything in a directory."""
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def sound(path: Path) -> None:
    """Check that a layout has no findings."""
    assert [str(finding) for finding in validate_layout(OurLayout(path))] == []


UPPER = [
    folder("etc", mtime=EPOCH + 300),
    Node(path="etc/.wh.motd", mode=0),
    Node(path="usr/.wh..wh..opq"),
    Node(path="usr/new", content=b"new\n", mtime=EPOCH + 300),
    hard("usr/new2", "usr/new"),
]


def layout(path: Path, name: str | None = "freebsd:15.0", **image: Any) -> Path:
    """Make a layout with one image of two layers."""
    made = Layout(path)
    usual = [pack(root(DATABASES["2.8.4-single"]), prefix="./"), pack(UPPER)]
    made.name(made.image(Image(**{"layers": usual, **image})), name)
    return path


# ---------------------------------------------------------------- one image


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_an_image(tmp_path: Path, compression: str) -> None:
    """Times are set, layers sorted and clamped; command, environment and labels are kept."""
    source = layout(tmp_path / "in", compression=compression)
    result = run(f"{source}:freebsd:15.0", f"{tmp_path}/out:freebsd:15.0")
    out = tmp_path / "out"
    sound(out)
    listed = named(out, "freebsd:15.0")
    assert listed["digest"] == str(result.after)
    manifest = document(out, listed)
    config = document(out, manifest["config"])
    assert config["config"] == {
        "Cmd": ["/bin/sh"],
        "Env": ["A=b"],
        "Labels": {"kept": "as it is"},
    }
    assert config["created"] == TIME
    assert config["history"] == [{"created": TIME, "created_by": "make"}] * 2
    assert [layer["mediaType"] for layer in manifest["layers"]] == [
        layer["mediaType"] for layer in document(source, named(source, "freebsd:15.0"))["layers"]
    ]
    lower, upper = layers(out, listed)
    assert content(lower, "etc/motd") == b"hello\n"
    assert content(lower, DATABASE)[96:100] == (3_042_000).to_bytes(4, "big")
    assert list(members(upper)) == [
        "etc", "etc/.wh.motd", "usr/.wh..wh..opq", "usr/new", "usr/new2"
    ]  # fmt: skip
    assert members(upper)["usr/new2"].type == tarfile.LNKTYPE
    assert max(info.mtime for info in members(upper).values()) == EPOCH


def test_a_canonical_image_stays_as_it_is(tmp_path: Path) -> None:
    """Every byte of the layout."""
    source = layout(tmp_path / "in", compression="zstd")
    run(str(source), f"{tmp_path}/once")
    again = run(f"{tmp_path}/once", f"{tmp_path}/twice")
    assert again.before == again.after
    assert all(layer.before == layer.after for layer in again.layers)
    assert files(tmp_path / "once") == files(tmp_path / "twice")


def test_two_builds_become_one(tmp_path: Path) -> None:
    """Another time, order, dialect and prefix, and another run of pkg."""
    layout(tmp_path / "a", layers=[pack(root(DATABASES[SAME[0]])), pack(UPPER)])
    lower = pack(list(reversed(later(root(DATABASES[SAME[3]]), 77))), dialect=tarfile.GNU_FORMAT)
    upper = pack([*reversed(later(UPPER, 77))], prefix="./")
    layout(tmp_path / "b", layers=[lower, upper], created="2026-11-11T11:11:11Z")
    run(f"{tmp_path}/a", f"{tmp_path}/first")
    run(f"{tmp_path}/b", f"{tmp_path}/second")
    assert files(tmp_path / "first") == files(tmp_path / "second")


@pytest.mark.parametrize("algorithm", ["gzip", "zstd", "none"])
def test_another_compression(tmp_path: Path, algorithm: str) -> None:
    """The diff_ids, and with them the config, do not depend on it."""
    source = layout(tmp_path / "in")
    run(str(source), f"{tmp_path}/kept")
    run(str(source), f"{tmp_path}/out", algorithm=algorithm)
    sound(tmp_path / "out")
    kept, out = (
        document(p, named(p, "freebsd:15.0")) for p in (tmp_path / "kept", tmp_path / "out")
    )
    assert kept["config"] == out["config"]
    suffix = {"gzip": "+gzip", "zstd": "+zstd", "none": ".tar"}[algorithm]
    assert all(layer["mediaType"].endswith(suffix) for layer in out["layers"])


def test_what_was_changed_is_said(tmp_path: Path) -> None:
    """The digests of every layer, and what became of its database."""
    source = layout(tmp_path / "in")
    result = run(str(source), f"{tmp_path}/out")
    old = document(source, named(source, "freebsd:15.0"))["layers"]
    new = document(tmp_path / "out", named(tmp_path / "out", "freebsd:15.0"))["layers"]
    assert [str(layer.before) for layer in result.layers] == [layer["digest"] for layer in old]
    assert [str(layer.after) for layer in result.layers] == [layer["digest"] for layer in new]
    assert any(note.startswith("database: schema 42") for note in result.layers[0].notes)


def test_freebsds_own_images(tmp_path: Path) -> None:
    """Their config has `cmd`, their index no media type, and services.db may be sparse."""
    source = layout(
        tmp_path / "in",
        "freebsd-runtime:15.0",
        layers=[pack(root())],
        config={"config": {"cmd": ["/bin/sh"]}},
        manifest={"annotations": {}},
    )
    run(str(source), f"{tmp_path}/out")
    sound(tmp_path / "out")
    manifest = document(tmp_path / "out", named(tmp_path / "out", "freebsd-runtime:15.0"))
    assert document(tmp_path / "out", manifest["config"])["config"] == {"Cmd": ["/bin/sh"]}
    assert "annotations" not in manifest


# ---------------------------------------------------------------- several platforms


def test_an_index(tmp_path: Path) -> None:
    """Platforms and annotations stay; a layer that two images share is read once."""
    shared = pack(root(DATABASES["2.8.4-single"]))
    made = Layout(tmp_path / "in")
    images = [
        Image(layers=[shared, pack(UPPER)], compression="zstd"),
        Image(layers=[shared], compression="zstd", architecture="arm64"),
    ]
    annotations = {"org.opencontainers.image.created": "2026-01-01T00:00:00Z", "kept": "x"}
    made.name(made.index(images, annotations=annotations), "15.0")
    result = run(f"{tmp_path}/in:15.0", f"{tmp_path}/out:15.0")
    out = tmp_path / "out"
    sound(out)
    index = document(out, named(out, "15.0"))
    assert index["annotations"] == {"org.opencontainers.image.created": TIME, "kept": "x"}
    assert [m["platform"]["architecture"] for m in index["manifests"]] == ["amd64", "arm64"]
    assert {json.dumps(m["annotations"]) for m in index["manifests"]} == {
        '{"io.github.containers.compression.zstd": "true"}'
    }
    assert len(result.layers) == 2
    run(f"{tmp_path}/in:15.0", f"{tmp_path}/gzip:15.0", algorithm="gzip")
    sound(tmp_path / "gzip")
    index = document(tmp_path / "gzip", named(tmp_path / "gzip", "15.0"))
    assert not any("annotations" in m for m in index["manifests"])


def test_attestations_of_the_old_image_go(tmp_path: Path) -> None:
    """BuildKit's are about the digests of manifests that are no more."""
    made = Layout(tmp_path / "in")
    image = made.image(Image(layers=[pack(root())]))
    attestation = {
        **made.put_json({"schemaVersion": 2, "layers": []}, MANIFEST),
        "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": {
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": image["digest"],
        },
    }
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [image, attestation]}
    made.name(made.put_json(index, INDEX), "15.0")
    result = run(f"{tmp_path}/in", f"{tmp_path}/out")
    assert result.notes == (f"left out {attestation['digest']}, an attestation of the old image",)
    assert len(document(tmp_path / "out", named(tmp_path / "out", "15.0"))["manifests"]) == 1
    made.name(attestation, "attestation")
    made.manifests[-1]["annotations"].update(attestation["annotations"])
    made.write()
    with pytest.raises(LayoutError, match="is an attestation, no image"):
        run(f"{tmp_path}/in:attestation", f"{tmp_path}/other")


# ---------------------------------------------------------------- names and places


def test_names(tmp_path: Path) -> None:
    """Kept unless another is given; the only image needs none; `oci:` may stand before."""
    source = layout(tmp_path / "in")
    run(f"oci:{source}", f"oci:{tmp_path}/out")
    run(f"{source}:freebsd:15.0", f"{tmp_path}/out:other:name")
    assert (
        named(tmp_path / "out", "freebsd:15.0")["digest"]
        == (named(tmp_path / "out", "other:name")["digest"])
    )
    sound(tmp_path / "out")
    with pytest.raises(ConfigurationError, match="2 images, want one") as caught:
        run(f"{tmp_path}/out", f"{tmp_path}/x")
    assert caught.value.hint == "it has freebsd:15.0, other:name"
    with pytest.raises(ConfigurationError, match="in:none: 0 images"):
        run(f"{source}:none", f"{tmp_path}/x")


def test_an_image_without_a_name(tmp_path: Path) -> None:
    """Some writers give none, and then there is none."""
    source = layout(tmp_path / "in", None)
    run(str(source), f"{tmp_path}/out")
    assert REF_NAME not in named(tmp_path / "out").get("annotations", {})
    run(str(source), f"{tmp_path}/out:now")
    named(tmp_path / "out", "now")


def test_in_place(tmp_path: Path) -> None:
    """The name moves, and the old blobs stay: other names may need them."""
    source = layout(tmp_path / "in")
    old = files(source)
    result = run(str(source), str(source))
    sound(source)
    assert named(source, "freebsd:15.0")["digest"] == str(result.after)
    assert {name for name in old if name.startswith("blobs/")} < set(files(source))


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    """Nor leaves anything behind; it finds what a real one would."""
    source = layout(tmp_path / "in")
    before = files(tmp_path)
    dry = run(str(source), f"{tmp_path}/out", dry_run=True)
    assert files(tmp_path) == before
    assert {path.name for path in tmp_path.iterdir()} == {"in"}
    assert dry == run(str(source), f"{tmp_path}/out")


def test_no_layout(tmp_path: Path) -> None:
    """A tar, a directory, nothing."""
    (tmp_path / "x.tar").write_bytes(pack([]))
    for name in ("x.tar", "none", "."):
        with pytest.raises(ConfigurationError, match="no OCI layout") as caught:
            run(f"{tmp_path}/{name}", f"{tmp_path}/out")
        assert caught.value.hint


# ---------------------------------------------------------------- layers and each other


def test_triggers_are_followed_through_layers(tmp_path: Path) -> None:
    """A layer that runs a deferred trigger removes it: under the name that it has now."""
    path = "var/db/pkg/triggers"

    def build(where: Path, name: str) -> bytes:
        lower = [*root(), Node(path=f"{path}/{name}", content=b"print(1)\n")]
        upper = [folder(path), Node(path=f"{path}/.wh.{name}"), Node(path="etc/done")]
        layout(where / "in", layers=[pack(lower), pack(upper)])
        run(f"{where}/in", f"{where}/out")
        return layers(where / "out", named(where / "out", "freebsd:15.0"))[1]

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    upper = build(tmp_path / "a", "J0fTrmHAxY")
    assert build(tmp_path / "b", "usYJ129C8j") == upper
    assert files(tmp_path / "a" / "out") == files(tmp_path / "b" / "out")
    below = layers(tmp_path / "a/out", named(tmp_path / "a/out", "freebsd:15.0"))[0]
    (renamed,) = (name for name in members(below) if name.startswith(f"{path}/"))
    assert f"{path}/.wh.{renamed.rpartition('/')[2]}" in members(upper)


def test_each_layer_may_have_a_database(tmp_path: Path) -> None:
    """The log in an upper layer belongs to the database of a lower one, and is refused."""
    second = pack([Node(path=DATABASE, content=DATABASES["2.8.4-history"])])
    source = layout(tmp_path / "in", layers=[pack(root(DATABASES["2.8.4-all"])), second])
    result = run(str(source), f"{tmp_path}/out")
    assert all(any("database" in n for n in layer.notes) for layer in result.layers)
    log = pack([Node(path=f"{DATABASE}-wal", content=b"x" * 5000)])
    bad = layout(tmp_path / "bad", layers=[pack(root(DATABASES["2.8.4-all"])), log])
    with pytest.raises(ArchiveError, match="5000 bytes of changes to a database"):
        run(str(bad), f"{tmp_path}/x")


# ---------------------------------------------------------------- refusals


def swap(where: Path, descriptor: Mapping[str, Any], data: bytes) -> None:
    """Replace the content of a blob."""
    digest = str(descriptor["digest"]).removeprefix("sha256:")
    (where / "blobs" / "sha256" / digest).write_bytes(data)


def remove(where: Path, descriptor: Mapping[str, Any]) -> None:
    """Remove a blob."""
    digest = str(descriptor["digest"]).removeprefix("sha256:")
    (where / "blobs" / "sha256" / digest).unlink()


@pytest.mark.parametrize("which", ["manifest", "config", "layer"])
def test_blobs_that_are_not_what_they_should_be(tmp_path: Path, which: str) -> None:
    """Another content, or none."""
    source = layout(tmp_path / "in")
    listed = named(source, "freebsd:15.0")
    manifest = document(source, listed)
    target = {"manifest": listed, "config": manifest["config"], "layer": manifest["layers"][0]}
    good = blob(source, target[which])
    swap(source, target[which], good + b" ")
    with pytest.raises(DigestMismatchError, match=target[which]["digest"]):
        run(str(source), f"{tmp_path}/out")
    remove(source, target[which])
    with pytest.raises(LayoutError, match="is not in the layout"):
        run(str(source), f"{tmp_path}/out")
    swap(source, target[which], good)
    run(str(source), f"{tmp_path}/out")


def test_documents_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A manifest is not a gigabyte."""
    source = layout(tmp_path / "in")
    monkeypatch.setattr("pipeline.stages.layout_place._MAX_DOCUMENT", 100)
    with pytest.raises(LayoutError, match="document longer than 100"):
        run(str(source), f"{tmp_path}/out")


ROOTFS = {"type": "layers", "diff_ids": ["sha256:" + "0" * 64] * 2}


@pytest.mark.parametrize(
    ("image", "error", "match"),
    [
        pytest.param(
            {"config": {"rootfs": ROOTFS}}, DigestMismatchError, r"diff_ids\[0\]", id="diff-id"
        ),
        pytest.param(
            {"config": {"rootfs": {**ROOTFS, "diff_ids": []}}}, LayoutError, "got 0, want 2",
            id="diff-ids",
        ),
        pytest.param(
            {"config": {"history": [{"created_by": "x"}]}}, LayoutError,
            "canonicalized: .*history: got 1", id="history",
        ),
        pytest.param({"config": {"Shell": ["x"]}}, LayoutError, "'Shell'", id="config-key"),
        pytest.param(
            {"manifest": {"subject": {"mediaType": MANIFEST, "digest": "x", "size": 1}}},
            LayoutError, "refers to another manifest", id="subject",
        ),
        pytest.param({"manifest": {"artifactType": "x/y"}}, LayoutError, "'x/y'", id="artifact"),
        pytest.param(
            {"manifest": {"layers": [
                {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                 "digest": "sha256:" + "0" * 64, "size": 1}
            ]}},
            LayoutError, "vnd.docker.image.rootfs", id="docker-layer",
        ),
        pytest.param(
            {"layers": [pack([Node(path="a", pax={"SCHILY.xattr.user.x": "1"})])]},
            ArchiveError, r"in: sha256:.*: layer sha256:.*: extended attributes", id="xattr",
        ),
        pytest.param(
            {"layers": [pack(root(b"nothing"))]}, DatabaseError,
            f"layer sha256:.*: {DATABASE}: not an SQLite database", id="database",
        ),
    ],
)  # fmt: skip
def test_images_that_are_refused(
    tmp_path: Path, image: dict[str, Any], error: type[PipelineError], match: str
) -> None:
    """With the way to what is wrong; nothing appears."""
    source = layout(tmp_path / "in", **image)
    with pytest.raises(error, match=match):
        run(str(source), f"{tmp_path}/out")
    assert {path.name for path in tmp_path.iterdir()} == {"in"}


def test_other_media_types_are_refused(tmp_path: Path) -> None:
    """Docker's own manifests, indexes without end, an index.json that is none."""
    made = Layout(tmp_path / "in")
    docker = "application/vnd.docker.distribution.manifest.v2+json"
    made.name(made.put_json({}, docker), "docker")
    descriptor = made.image(Image(layers=[pack([])]))
    for _ in range(6):
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor]}
        descriptor = made.put_json(index, INDEX)
    made.name(descriptor, "deep")
    made.name(made.put(b"[1]", MANIFEST), "array")
    made.name(made.put_json({"config": made.put(b"{}", CONFIG), "layers": 1}, MANIFEST), "broken")
    for name, match in (
        ("docker", "vnd.docker.distribution"),
        ("deep", "nested deeper than 4"),
        ("array", "got list, want an object"),
        ("broken", "layers: got an integer"),
    ):
        with pytest.raises(LayoutError, match=match):
            run(f"{tmp_path}/in:{name}", f"{tmp_path}/out")
    (tmp_path / "in" / "index.json").write_text("{")
    with pytest.raises(LayoutError, match=r"in/index\.json: not JSON"):
        run(f"{tmp_path}/in:docker", f"{tmp_path}/out")


def test_what_is_to_be_dropped_is_dropped(tmp_path: Path) -> None:
    """The same layer with the option."""
    source = layout(
        tmp_path / "in", layers=[pack([Node(path="a", pax={"SCHILY.xattr.user.x": "1"})])]
    )
    result = run(str(source), f"{tmp_path}/out", drop_attributes=True)
    assert result.layers[0].notes == ("extended attributes dropped: 1",)


def test_the_output_is_a_layout_or_nothing(tmp_path: Path) -> None:
    """A directory with something else in it is left alone."""
    source = layout(tmp_path / "in")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis").write_text("x")
    with pytest.raises(LayoutError, match="no OCI layout"):
        run(str(source), f"{tmp_path}/home")
    assert files(tmp_path / "home") == {"thesis": b"x"}
    shutil.rmtree(tmp_path / "home")
    with pytest.raises(ConfigurationError, match="no such directory"):
        run(str(source), f"{tmp_path}/none/out")
