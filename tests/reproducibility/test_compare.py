"""Two sources compared: every level, every pairing, every kind of source."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from fixtures.localdb.small import installed
from pipeline.pkg.localdb import build_localdb
from reproducibility.causes import Cause
from reproducibility.compare import Options, compare
from reproducibility.findings import Agreement, Comparison, Level, State
from reproducibility.patterns import Hints, Surroundings
from reproducibility.verdict import Verdict
from tests.reproducibility.layouts import (
    EPOCH,
    LayoutWriter,
    Spec,
    archive_layout,
    docker_archive,
    file,
    folder,
    hardlink,
    make_layout,
    make_tar,
    symlink,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.reproducibility.layouts import Item

BASE = (
    folder("bin"),
    file("bin/sh", b"\x7fELF shell", mode=0o555),
    folder("etc"),
    file("etc/motd", "welcome\n"),
    file("etc/rc", "#!/bin/sh\n", mode=0o755),
    symlink("etc/termcap", "../usr/share/misc/termcap"),
)


def diff(a: object, b: object, **options: Any) -> Comparison:
    """Compare without diffoscope."""
    return compare(str(a), str(b), Options(**{"diffoscope": None, **options}))


def diff_items(tmp_path: Path, a: Sequence[Item], b: Sequence[Item], **options: Any) -> Comparison:
    """Compare two images of one layer each."""
    tmp_path.mkdir(exist_ok=True)
    x = make_layout(tmp_path / "a", make_tar(a))
    y = make_layout(tmp_path / "b", make_tar(b))
    return diff(x, y, **options)


def causes(comparison: Comparison) -> list[tuple[str, str, str]]:
    """Return level, cause and path of every difference that is not in a document."""
    return [
        (d.level.value, d.cause.value, d.place.path)
        for d in comparison.differences
        if d.level not in (Level.INDEX, Level.MANIFEST, Level.CONFIG)
    ]


# ---------------------------------------------------------------- the same


def test_a_layout_equals_itself(tmp_path: Path) -> None:
    """Nothing differs, and every level says so."""
    layout = make_layout(tmp_path / "a", make_tar(BASE))
    c = diff(layout, layout)
    assert c.verdict is Verdict.REPRODUCIBLE
    assert c.agreement is Agreement.EVERYTHING
    (image,) = c.images
    assert (image.name, image.state, image.index.state) == (
        "img:1",
        State.IDENTICAL,
        State.IDENTICAL,
    )
    (platform,) = image.platforms
    assert platform.platform == "freebsd/amd64"
    assert [layer.state for layer in platform.layers] == [State.IDENTICAL]


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_an_archive_equals_its_layout(tmp_path: Path, compression: str) -> None:
    """The container of an image is no part of it."""
    layout = make_layout(tmp_path / "a", make_tar(BASE))
    archive = archive_layout(layout, tmp_path / "a.tar", compression=compression)
    assert diff(layout, f"oci-archive:{archive}").verdict is Verdict.REPRODUCIBLE
    assert diff(layout, archive).verdict is Verdict.REPRODUCIBLE, "found by looking"


def test_docker_archive_is_compared_by_config_and_diff_id(tmp_path: Path) -> None:
    """It has no manifest and no compressed layers; a repeated layer is a link in it."""
    tar = make_tar(BASE)
    layout = make_layout(tmp_path / "a", tar, tar)
    saved = docker_archive(tmp_path / "d.tar", tar, tar)
    c = diff(layout, saved)
    assert c.verdict is Verdict.REPRODUCIBLE
    (platform,) = c.images[0].platforms
    assert platform.manifest.state is State.NOT_COMPARED
    assert platform.config.state is State.IDENTICAL
    assert [layer.state for layer in platform.layers] == [State.EQUAL_CONTENT] * 2
    assert "docker archive" in platform.notes[0]


def test_rootfs_directory_equals_the_layers_that_make_it(tmp_path: Path) -> None:
    """Layers are applied: upper files replace lower ones, whiteouts remove."""
    lower = make_tar([*BASE, folder("var"), file("var/old", "x"), file("gone", "x")])
    upper = make_tar([file("etc/motd", "hello\n"), file(".wh.gone"), file("var/.wh..wh..opq")])
    layout = make_layout(tmp_path / "a", lower, upper)
    root = tmp_path / "root"
    with tarfile.open(fileobj=io.BytesIO(lower)) as archive:
        archive.extractall(root, filter="fully_trusted")
    (root / "gone").unlink()
    (root / "var/old").unlink()
    (root / "etc/motd").write_text("hello\n")
    ignored = {"ignored": (Cause.MTIME, Cause.OWNER)}
    c = diff(layout, f"rootfs:{root}", **ignored)
    assert c.verdict is Verdict.REPRODUCIBLE, c.differences
    (root / "etc/motd").write_text("hallo\n")
    assert ("content", "unknown", "etc/motd") in causes(diff(layout, root, **ignored))


# ---------------------------------------------------------------- one cause at a time


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (BASE[3].but(mtime=EPOCH + 7), ("entry", "mtime", "etc/motd")),
        (BASE[3].but(mtime=EPOCH + 0.5), ("entry", "mtime", "etc/motd")),
        (BASE[3].but(mode=0o600), ("entry", "mode", "etc/motd")),
        (BASE[3].but(uid=1001), ("entry", "owner", "etc/motd")),
        (BASE[3].but(gid=5), ("entry", "owner", "etc/motd")),
        (BASE[3].but(pax={"SCHILY.fflags": "schg"}), ("entry", "flags", "etc/motd")),
        (BASE[3].but(pax={"SCHILY.xattr.user.x": "1"}), ("entry", "xattr", "etc/motd")),
        (BASE[3].but(content=b"goodbye\n"), ("content", "unknown", "etc/motd")),
        (symlink("etc/motd", "rc"), ("entry", "type", "etc/motd")),
        (hardlink("etc/motd", "bin/sh"), ("entry", "link", "etc/motd")),
        (BASE[3].but(path="etc/motd.new"), ("entry", "presence", "etc/motd")),
        (BASE[3].but(uname="root"), ("layer", "encoding", "")),
        (BASE[3].but(path="./etc/motd"), ("layer", "encoding", "")),
    ],
)
def test_change_of_one_entry_has_its_cause(
    tmp_path: Path, changed: Item, expected: tuple[str, str, str]
) -> None:
    """Everything that can differ in an entry is a class of its own."""
    c = diff_items(tmp_path, BASE, [*BASE[:3], changed, *BASE[4:]])
    assert c.verdict is Verdict.DIFFERENT
    assert expected in causes(c)


def test_mode_names_the_umask(tmp_path: Path) -> None:
    """The evidence for a umask is the umask."""
    c = diff_items(tmp_path, BASE, [i.but(mode=i.mode & ~0o077) for i in BASE])
    (motd,) = (d for d in c.differences if d.place.path == "etc/motd")
    assert motd.evidence == ("B is what umask 077 leaves of A",)
    assert {d.cause for d in c.differences} == {Cause.MODE}


def test_symlink_target(tmp_path: Path) -> None:
    """Targets are compared verbatim."""
    c = diff_items(tmp_path, BASE, [*BASE[:-1], symlink("etc/termcap", "/usr/share/misc/termcap")])
    ((level, cause, path),) = causes(c)
    assert (level, cause, path) == ("entry", "link", "etc/termcap")
    assert "one absolute, one relative" in c.differences[-1].evidence


def test_order_of_entries(tmp_path: Path) -> None:
    """The same entries, but not sorted."""
    shuffled = [BASE[0], BASE[2], BASE[4], BASE[1], BASE[3], BASE[5]]
    c = diff_items(tmp_path, BASE, shuffled)
    assert causes(c) == [("layer", "order", "")]
    assert "A is sorted by bytes, B is in no order" in c.differences[-1].evidence
    assert c.agreement is Agreement.FILES


def test_order_that_a_locale_makes(tmp_path: Path) -> None:
    """Case-insensitive order is nobody's but a locale's."""
    names = ("Banana", "Zebra", "_x", "apple", "cherry")
    a = [file(name) for name in names]
    b = [file(name) for name in ("apple", "Banana", "cherry", "_x", "Zebra")]
    assert causes(diff_items(tmp_path, a, b)) == [("layer", "locale", "")]


def test_order_of_a_hash_table(tmp_path: Path) -> None:
    """No walk of directories lists a file before its directory."""
    b = [BASE[4], BASE[1], BASE[5], BASE[0], BASE[3], BASE[2]]
    assert causes(diff_items(tmp_path, BASE, b)) == [("layer", "hash-order", "")]


def test_first_name_of_a_linked_file_follows_the_order(tmp_path: Path) -> None:
    """Which name is the file and which the link is decided by the order of names."""
    a = [file("bin/[", b"x"), hardlink("bin/test", "bin/[")]
    b = [file("bin/test", b"x"), hardlink("bin/[", "bin/test")]
    found = causes(diff_items(tmp_path, a, b))
    assert {cause for _, cause, _ in found} == {"order"}


def test_lost_hard_link(tmp_path: Path) -> None:
    """A copy is not a link, although its content is the same."""
    a = [file("bin/[", b"x"), hardlink("bin/test", "bin/[")]
    b = [file("bin/[", b"x"), file("bin/test", b"x")]
    assert causes(diff_items(tmp_path, a, b)) == [("entry", "link", "bin/test")]


def test_content_of_linked_file_is_told_once(tmp_path: Path) -> None:
    """Both names differ, but there is one file."""
    a = [file("bin/[", b"x\n"), hardlink("bin/test", "bin/[")]
    b = [file("bin/[", b"y\n"), hardlink("bin/test", "bin/[")]
    assert causes(diff_items(tmp_path, a, b)) == [("content", "unknown", "bin/[")]


def test_lost_directory_is_one_difference(tmp_path: Path) -> None:
    """Whatever is below it."""
    extra = [folder("usr"), folder("usr/share"), *(file(f"usr/share/{i}") for i in range(50))]
    c = diff_items(tmp_path, [*BASE, *extra], BASE)
    assert causes(c) == [("entry", "presence", "usr")]
    assert c.differences[-1].a == "directory with 51 entries below, 0 B"
    assert c.differences[-1].b == "absent"


def test_siblings_of_a_lost_directory_are_not_in_it(tmp_path: Path) -> None:
    """`usr-local` sorts between `usr` and `usr/share` bytewise, but is not below `usr`."""
    extra = [folder("usr"), file("usr-local"), file("usr/x")]
    c = diff_items(tmp_path, [*BASE, *extra], BASE)
    assert [path for _, _, path in causes(c)] == ["usr", "usr-local"]


def test_tar_dialect(tmp_path: Path) -> None:
    """Another writer, the same meaning: one difference, with what it is."""
    long = file("etc/" + "x" * 120, b"long")
    a = make_layout(tmp_path / "a", make_tar([*BASE, long]))
    b = make_layout(tmp_path / "b", make_tar([*BASE, long], form=tarfile.GNU_FORMAT))
    c = diff(a, b)
    assert causes(c) == [("layer", "encoding", "")]
    assert "dialect: pax | gnu" in c.differences[-1].evidence[0]


def test_padding_after_the_archive(tmp_path: Path) -> None:
    """What ends an archive is part of its diff_id."""
    tar = make_tar(BASE)
    a = make_layout(tmp_path / "a", tar)
    b = make_layout(tmp_path / "b", tar + bytes(512))
    assert causes(diff(a, b)) == [("layer", "encoding", "")]


# ---------------------------------------------------------------- compressors


def test_compressor_is_told_from_content(tmp_path: Path) -> None:
    """The diff_id is compared before the digest."""
    tar = make_tar(BASE)
    a = make_layout(tmp_path / "a", tar)
    b = make_layout(tmp_path / "b", tar, compression="gzip")
    c = diff(a, b)
    assert causes(c) == [("layer", "compressor", "")]
    assert "algorithm: zstd | gzip" in c.differences[-1].evidence
    assert c.agreement is Agreement.TARS
    assert c.images[0].platforms[0].layers[0].state is State.EQUAL_CONTENT


def test_gzip_header_is_named(tmp_path: Path) -> None:
    """The field that holds the clock."""
    tar = make_tar(BASE)
    a = make_layout(tmp_path / "a", tar, compression="gzip")
    b = make_layout(tmp_path / "b", tar, compression="gzip", gzip_mtime=EPOCH)
    c = diff(a, b)
    assert causes(c) == [("layer", "compressor", "")]
    assert f"gzip MTIME: 0 | {EPOCH}" in c.differences[-1].evidence


def test_zstd_level(tmp_path: Path) -> None:
    """A level is written nowhere; that the headers are equal is all there is to say."""
    tar = make_tar([file("a", bytes(range(256)) * 400)])
    a = make_layout(tmp_path / "a", tar, level=1)
    b = make_layout(tmp_path / "b", tar, level=19)
    assert causes(diff(a, b)) == [("layer", "compressor", "")]


# ---------------------------------------------------------------- documents


def test_config_by_path(tmp_path: Path) -> None:
    """What follows from other differences is not told again."""
    tar = make_tar(BASE)
    a = make_layout(tmp_path / "a", tar, config={"Env": ["A=1", "B=2"]})
    b = make_layout(
        tmp_path / "b", tar, config={"Env": ["A=1", "B=3"]}, created="2024-01-01T00:00:00Z"
    )
    c = diff(a, b)
    assert [(d.level, d.cause, d.inside) for d in c.differences] == [
        (Level.CONFIG, Cause.CONFIGURATION, "$.config.Env[1]"),
        (Level.CONFIG, Cause.CLOCK, "$.created"),
        (Level.CONFIG, Cause.CLOCK, "$.history[0].created"),
    ]
    assert c.agreement is Agreement.TARS


def test_white_space_of_a_document(tmp_path: Path) -> None:
    """Equal values, other bytes, another digest."""
    tar = make_tar(BASE)
    a = make_layout(tmp_path / "a", tar)
    b = LayoutWriter(tmp_path / "b")
    descriptor = b.manifest(Spec(layers=(tar,)))
    path = b.root / "blobs/sha256" / descriptor["digest"][7:]
    pretty = json.dumps(json.loads(path.read_bytes()), indent=1).encode()
    digest = b.blob(pretty)
    manifest = {**descriptor, "digest": digest, "size": len(pretty)}
    index = json.dumps({"schemaVersion": 2, "manifests": [manifest]}).encode()
    media_type = "application/vnd.oci.image.index.v1+json"
    b.manifests = [{"mediaType": media_type, "digest": b.blob(index), "size": len(index)}]
    b._write_index()
    c = diff(a, b.root)
    assert {(d.level, d.cause) for d in c.differences} == {
        (Level.MANIFEST, Cause.ENCODING),
        (Level.INDEX, Cause.CONFIGURATION),
    }, "the index lacks a mediaType; the manifest is only indented"


# ---------------------------------------------------------------- pairing


def two_platforms(root: Path, *, motd: str = "welcome\n") -> Path:
    """Write a layout with one image for two platforms that share their first layer."""
    shared, own = make_tar(BASE), make_tar([file("etc/host", motd)])
    writer = LayoutWriter(root)
    writer.image(
        "img:1",
        Spec(layers=(shared, own)),
        Spec(layers=(shared, own), platform="freebsd/arm64"),
    )
    return root


def test_shared_layer_is_reported_once(tmp_path: Path) -> None:
    """The second image refers to the first, and the difference names both."""
    c = diff(two_platforms(tmp_path / "a"), two_platforms(tmp_path / "b", motd="hi\n"))
    assert causes(c) == [("content", "unknown", "etc/host")]
    amd64, arm64 = c.images[0].platforms
    assert amd64.layers[1].reported_in == ""
    assert arm64.layers[1].reported_in == "img:1 > freebsd/amd64 > layer 2"
    assert arm64.state is State.DIFFERENT
    assert c.differences[-1].also_in == ("img:1 > freebsd/arm64 > layer 2",)


def test_platform_filter(tmp_path: Path) -> None:
    """Only what was asked for is compared."""
    c = diff(
        two_platforms(tmp_path / "a"), two_platforms(tmp_path / "b"), platforms=("freebsd/arm64",)
    )
    assert [p.platform for p in c.images[0].platforms] == ["freebsd/arm64"]


def test_missing_platform_and_missing_image(tmp_path: Path) -> None:
    """What one side does not have at all."""
    tar = make_tar(BASE)
    a, b = LayoutWriter(tmp_path / "a"), LayoutWriter(tmp_path / "b")
    a.image("img:1", Spec(layers=(tar,)), Spec(layers=(tar,), platform="freebsd/arm64"))
    a.image("img:2", Spec(layers=(tar,)))
    b.image("img:1", Spec(layers=(tar,)))
    b.image("img:3", Spec(layers=(tar,)))
    c = diff(a.root, b.root)
    found = [(d.place.image, d.place.platform, d.a, d.b) for d in c.differences]
    assert ("img:1", "freebsd/arm64", "an image", "absent") in found
    assert ("img:2", "", "an image", "absent") in found
    assert ("img:3", "", "absent", "an image") in found
    assert [image.state for image in c.images] == [State.DIFFERENT, State.ONLY_A, State.ONLY_B]


def test_name_of_one_platform_is_not_compared_again(tmp_path: Path) -> None:
    """A layout may name the platforms of an index as well."""
    for side in ("a", "b"):
        writer = LayoutWriter(tmp_path / side)
        spec = Spec(
            layers=(make_tar(BASE),), created=f"20{10 if side == 'a' else 11}-01-01T00:00:00Z"
        )
        writer.image("img:1", spec)
        writer.single("img:1-amd64", spec)
    c = diff(tmp_path / "a", tmp_path / "b")
    assert [image.name for image in c.images] == ["img:1"]


def test_index_against_a_single_image(tmp_path: Path) -> None:
    """The platform that both have is compared; the others are no difference."""
    tar = make_tar(BASE)
    a = LayoutWriter(tmp_path / "a")
    a.image("img:1", Spec(layers=(tar,)), Spec(layers=(tar,), platform="freebsd/arm64"))
    b = LayoutWriter(tmp_path / "b")
    b.single("other:7", Spec(layers=(tar,), platform="freebsd/arm64"))
    c = diff(a.root, b.root)
    assert c.verdict is Verdict.REPRODUCIBLE
    assert [p.platform for p in c.images[0].platforms] == ["freebsd/arm64"]
    assert any("an index on one side only" in note for note in c.notes)


def test_image_by_digest_even_of_one_platform(tmp_path: Path) -> None:
    """A digest names more than index.json does."""
    a = LayoutWriter(tmp_path / "a")
    digest = a.manifest(Spec(layers=(make_tar(BASE),)))["digest"]
    a.image("img:1", Spec(layers=(make_tar(BASE),)))
    c = diff(f"oci:{a.root}@{digest}", f"oci:{a.root}:img:1")
    assert c.verdict is Verdict.REPRODUCIBLE


# ---------------------------------------------------------------- other layers


def test_same_files_in_other_layers(tmp_path: Path) -> None:
    """The cutting is one difference; the files are compared as they end up."""
    a = make_layout(tmp_path / "a", make_tar(BASE[:3]), make_tar(BASE[3:]))
    b = make_layout(tmp_path / "b", make_tar(BASE))
    c = diff(a, b)
    assert causes(c) == [("layer", "layering", "")]
    assert (c.differences[-1].a, c.differences[-1].b) == ("2 layers", "1 layer")
    assert diff(a, b, flatten=True).verdict is Verdict.REPRODUCIBLE


def test_file_that_moved_between_layers(tmp_path: Path) -> None:
    """As many layers, but not the same files in them."""
    a = make_layout(tmp_path / "a", make_tar(BASE[:4]), make_tar(BASE[4:]))
    b = make_layout(tmp_path / "b", make_tar(BASE[:3]), make_tar(BASE[3:]))
    c = diff(a, b)
    assert causes(c) == [("layer", "layering", "")]
    assert c.differences[-1].evidence == ("1 file of A's layer 1 in B's layer 2, e.g. etc/motd",)


# ---------------------------------------------------------------- what cannot be told


def _damage(layout: Path, *, keep: int) -> None:
    """Cut the largest blob."""
    blob = max((layout / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    blob.write_bytes(blob.read_bytes()[:keep])


def test_same_damaged_layer_is_not_reproducible(tmp_path: Path) -> None:
    """Digests are computed, not believed."""
    tar = make_tar([*BASE, file("big", bytes(range(256)) * 100)])
    a = make_layout(tmp_path / "a", tar, compression="none")
    b = make_layout(tmp_path / "b", tar, compression="none")
    for layout in (a, b):
        _damage(layout, keep=20_000)
    c = diff(a, b)
    assert c.verdict is Verdict.UNKNOWN
    assert any("got digest" in problem for problem in c.problems)


def test_damaged_layer_on_one_side(tmp_path: Path) -> None:
    """A difference is certain; how the rest compares is a problem."""
    tar = make_tar([*BASE, file("big", bytes(range(256)) * 100)])
    a = make_layout(tmp_path / "a", tar, compression="none")
    b = make_layout(tmp_path / "b", tar, compression="none")
    _damage(b, keep=20_000)
    c = diff(a, b)
    assert c.verdict is Verdict.DIFFERENT
    assert c.problems


def test_missing_blobs_are_problems(tmp_path: Path) -> None:
    """A layout with only its documents, or without them."""
    a = make_layout(tmp_path / "a", make_tar(BASE), compression="none")
    b = make_layout(tmp_path / "b", make_tar(BASE), compression="none")
    max((b / "blobs/sha256").iterdir(), key=lambda p: p.stat().st_size).unlink()
    assert diff(a, b).problems
    for path in (b / "blobs/sha256").iterdir():
        path.unlink()
    c = diff(a, b)
    assert c.verdict is Verdict.UNKNOWN
    assert c.problems


def test_wrong_diff_id_in_both_configs(tmp_path: Path) -> None:
    """A claim of both sides that is not true is found if the layers are read."""
    a = LayoutWriter(tmp_path / "a")
    tar = make_tar(BASE)
    a.image("img:1", Spec(layers=(tar,)))
    b = LayoutWriter(tmp_path / "b")
    b.image("img:1", Spec(layers=(tar + bytes(512),), compression="gzip"))
    index = json.loads((b.root / "index.json").read_bytes())
    assert index
    assert diff(a.root, b.root).verdict is Verdict.DIFFERENT


def test_nothing_in_common(tmp_path: Path) -> None:
    """Several images under other names: each is a difference, none is compared."""
    tar = make_tar(BASE)
    a, b = LayoutWriter(tmp_path / "a"), LayoutWriter(tmp_path / "b")
    for i in (1, 2):
        a.image(f"x:{i}", Spec(layers=(tar,)))
        b.image(f"y:{i}", Spec(layers=(tar,)))
    c = diff(a.root, b.root)
    assert c.verdict is Verdict.DIFFERENT
    assert len(c.differences) == 4
    assert "there is nothing that both sides have" in c.problems


def test_empty_layouts_cannot_be_told(tmp_path: Path) -> None:
    """Nothing compared is not nothing found."""
    a, b = LayoutWriter(tmp_path / "a"), LayoutWriter(tmp_path / "b")
    assert diff(a.root, b.root).verdict is Verdict.UNKNOWN


# ---------------------------------------------------------------- limits and wishes


def test_ignored_causes_do_not_count(tmp_path: Path) -> None:
    """They are reported all the same."""
    c = diff_items(tmp_path, BASE, [i.but(mtime=EPOCH + 1) for i in BASE], ignored=(Cause.MTIME,))
    assert c.verdict is Verdict.REPRODUCIBLE
    assert len(c.differences) == 6
    assert all(d.ignored for d in c.differences)


def test_differences_beyond_the_limit_are_counted(tmp_path: Path) -> None:
    """Memory is bounded, the verdict and the numbers are not lost."""
    a = [file(f"f{i:04}") for i in range(100)]
    b = [i.but(mtime=EPOCH + 1) for i in a]
    c = diff_items(tmp_path, a, b, max_differences=10)
    assert len(c.differences) == 10
    assert [(o.name, o.count) for o in c.omitted] == [("mtime", 90)]
    assert c.verdict is Verdict.DIFFERENT


def test_files_beyond_the_budget_are_not_looked_into(tmp_path: Path) -> None:
    """They are different, whatever their cause."""
    a = [file("a", b"x" * 1000), file("b", b"x" * 1000)]
    b = [file("a", b"y" * 1000), file("b", b"y" * 1000)]
    c = diff_items(tmp_path, a, b, budget=2500)
    assert {d.place.path: d.evidence[0][:15] for d in c.differences} == {
        "a": "1 line only in ",
        "b": "not looked into",
    }


def test_hostile_names_stay_in_the_workplace(tmp_path: Path) -> None:
    """Paths with `..`, odd bytes and great length are shown, and written nowhere else."""
    deep = "d/" * 1500 + "x"
    names = (
        "../../../../escape",
        deep,
        "n" * 3000,
        "a/\udcff\udcfe",
        "x" * 250,
        "b\nc",
        "-rf",
        "con:aux|?*",
    )
    a = [file(n, b"1\n") for n in names]
    b = [file(n, b"2\n") for n in names]
    c = diff_items(tmp_path, a, b)
    assert len(causes(c)) == len(names)
    assert not (tmp_path.parent / "escape").exists()
    assert json.dumps([d.place.path for d in c.differences]).encode()


def test_twice_the_same_path(tmp_path: Path) -> None:
    """The last one counts, and a note says so."""
    a = [*BASE, file("etc/motd", "second\n")]
    c = diff_items(tmp_path, a, BASE)
    assert any("in it twice" in note for note in c.notes)
    assert ("content", "unknown", "etc/motd") in causes(c)


def test_comparison_is_deterministic(tmp_path: Path) -> None:
    """But for the timings."""
    a, b = two_platforms(tmp_path / "a"), two_platforms(tmp_path / "b", motd="hi\n")
    assert replace(diff(a, b), timings=()) == replace(diff(a, b), timings=())


# ---------------------------------------------------------------- what is known of the image


def _database(*, comment: str = "c") -> bytes:
    record = {"sum": "1$" + "0" * 64, "uname": "root", "gname": "wheel", "perm": "0644"}
    package = installed("FreeBSD-x", comment=comment, files={"/etc/motd": record})
    return build_localdb([package], schema=42, source_date_epoch=1)


def test_owning_package_is_told(tmp_path: Path) -> None:
    """From the image's own database, even if that is in a layer that does not differ."""
    state = make_tar([file("var/db/pkg/local.sqlite", _database())])
    a = make_layout(tmp_path / "a", make_tar(BASE), state)
    changed = [i.but(mode=0o600) if i.path in ("etc/motd", "etc/rc") else i for i in BASE]
    b = make_layout(tmp_path / "b", make_tar(changed), state)
    c = diff(a, b)
    assert {d.place.path: d.package for d in c.differences} == {
        "etc/motd": "FreeBSD-x",
        "etc/rc": "",
    }


def test_rows_of_the_database_name_their_package(tmp_path: Path) -> None:
    """The row's package, not the database's."""
    a = [file("var/db/pkg/local.sqlite", _database(comment="one"))]
    b = [file("var/db/pkg/local.sqlite", _database(comment="two"))]
    (d,) = diff_items(tmp_path, a, b).differences
    assert (d.cause, d.package, d.inside) == (Cause.DATABASE_ROW, "FreeBSD-x", "packages")


def test_damaged_database_tells_nothing_and_hides_nothing(tmp_path: Path) -> None:
    """Owners are a help, not a need."""
    a = [file("var/db/pkg/local.sqlite", b"SQLite format 3\0 nonsense"), file("x", "1\n")]
    b = [a[0], file("x", "2\n")]
    assert causes(diff_items(tmp_path, a, b)) == [("content", "unknown", "x")]


def test_listing_of_files_in_another_order(tmp_path: Path) -> None:
    """Names that are in the image speak for a directory's order, not for a hash table's."""
    names = [file(f"share/{name}") for name in ("one", "two", "three", "four", "five")]
    a = [*names, file("list", "two\nfive\none\nfour\nthree\n")]
    b = [*names, file("list", "five\ntwo\nfour\none\nthree\n")]
    assert causes(diff_items(tmp_path, a, b)) == [("content", "order", "list")]
    renamed = [i.but(path=i.path.replace("share", "lib") + "-") for i in names]
    x, y = [*renamed, a[-1]], [*renamed, b[-1]]
    found = causes(diff_items(tmp_path / "again", x, y))
    assert found == [("content", "hash-order", "list")]


def test_hints_of_a_build(tmp_path: Path) -> None:
    """What the audit knows of both builds makes short paths certain."""
    a, b = [file("x", "dir=/b1 host=alpha\n")], [file("x", "dir=/b2 host=omega\n")]
    hints = Hints(
        a=Surroundings(paths=("/b1",), identities=("alpha",)),
        b=Surroundings(paths=("/b2",), identities=("omega",)),
    )
    found = causes(diff_items(tmp_path, a, b, hints=hints))
    assert {cause for _, cause, _ in found} == {"path-in-content", "identity-in-content"}


def test_removed_and_replaced_directories(tmp_path: Path) -> None:
    """A file over a directory takes what was below it; a directory over a file does not."""
    lower = [folder("d"), file("d/x"), folder("e"), file("e/y"), file("f")]
    upper = [file("d", "now a file"), folder("e"), file(".wh.f"), file("missing/.wh.nothing")]
    a = make_layout(tmp_path / "a", make_tar(lower), make_tar(upper))
    b = make_layout(tmp_path / "b", make_tar([file("d", "now a file"), folder("e"), file("e/y")]))
    assert diff(a, b, flatten=True).verdict is Verdict.REPRODUCIBLE
