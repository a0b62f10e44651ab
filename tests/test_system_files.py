"""The embedded images hold exactly the system files that FreeBSD's own images hold.

Expectations: FreeBSD's release/scripts/make-oci-image.sh and the install scripts of its packages, as
the real programs carry them out (`fixtures/sysdb` has their outputs), and what docs/FORMAT.md adds.
"""

from __future__ import annotations

import hashlib
import json

import pytest

from pipeline.formats import mtree, tar
from pipeline.formats.db185_read import parse_hash_file
from pipeline.pkg.localdb_read import parse_localdb
from tests.images import Seen, image_tree, layer_paths, members
from tests.tasks.project import ROOT, Project, embedded

SYSDB = ROOT / "fixtures" / "sysdb"
EMPTY_SERVICES = "06eebad8e1b36a9b6fa60bd0bbc7d02f36f4333c09d9575e60f10f2113bce151"
"""services_mkdb given a directory, as FreeBSD 15 does: the database of nothing."""

RELEASES = ("14.3", "15.0")
ARCHITECTURES = ("amd64", "aarch64")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = embedded(tmp_path_factory.mktemp("system") / "p")
    project.build()
    return project


@pytest.fixture(scope="module")
def trees(built: Project) -> dict[str, dict[str, Seen]]:
    return {
        f"{image}:{release}:{arch}": image_tree(built.output, f"freebsd-{image}:{release}-{arch}")
        for image in ("static", "dynamic", "runtime")
        for release in RELEASES
        for arch in ARCHITECTURES
    }


def owned_by_packages(built: Project, tree: dict[str, Seen]) -> set[str]:
    """Return the paths that the image's own package database knows."""
    database = parse_localdb(tree["var/db/pkg/local.sqlite"].content, wal=b"", journal=b"")
    return {f.path[1:] for p in database.packages for f in p.manifest.files} | {
        d.path[1:] for p in database.packages for d in p.manifest.directories
    }


def certificates(release: str) -> set[str]:
    """Return the paths that certctl makes of the certificates, which are those of the golden run."""
    names = json.loads((SYSDB / "MANIFEST.json").read_bytes())
    paths: set[str] = set()
    for case in names["cases"]:
        if (case["tool"], case["case"]) == ("certctl", "rehash-basic"):
            for output in case["runs"][0]["outputs"]:
                paths.add(output["path"])
    certs = {p for p in paths if "/ssl/certs/" in p or "/ssl/untrusted/" in p}
    assert len(certs) > 10
    return certs | ({"etc/ssl/cert.pem"} if release == "15.0" else set())


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("release", RELEASES)
def test_runtime_has_exactly_these_files_without_a_package(
    release: str, arch: str, built: Project, trees: dict[str, dict[str, Seen]]
) -> None:
    tree = trees[f"runtime:{release}:{arch}"]
    owned = owned_by_packages(built, tree)
    unowned = {p for p, seen in tree.items() if seen.member.kind != tar.DIRECTORY} - owned
    picked = {p for p in unowned if p.startswith("usr/share/certs/")}
    assert unowned - picked == {
        "etc/passwd",
        "etc/pwd.db",
        "etc/spwd.db",
        "var/db/services.db",
        "var/db/pkg/local.sqlite",
        "var/run/ld-elf.so.hints",
        *certificates(release),
    }
    # 15.x: the certificates of static belong to no package; 14.x: certctl brings caroot, which owns them
    assert bool(picked) == (release == "15.0")


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("release", RELEASES)
def test_static_has_exactly_these_files_without_a_package(
    release: str, arch: str, built: Project, trees: dict[str, dict[str, Seen]]
) -> None:
    tree = trees[f"static:{release}:{arch}"]
    unowned = {p for p, seen in tree.items() if seen.member.kind != tar.DIRECTORY}
    unowned -= owned_by_packages(built, tree)
    unowned -= {p for p in unowned if p.startswith("usr/share/certs/")}
    assert unowned == {
        "etc/master.passwd",
        "etc/group",
        "etc/termcap.small",
        "usr/share/misc/termcap",
        "etc/passwd",
        "etc/pwd.db",
        "etc/spwd.db",
        "var/db/pkg/local.sqlite",
        *certificates(release),
    }


MODES = {
    "etc/master.passwd": 0o600,
    "etc/group": 0o644,
    "etc/passwd": 0o644,
    "etc/pwd.db": 0o644,
    "etc/spwd.db": 0o600,
    "var/db/services.db": 0o644,
    "var/db/pkg/local.sqlite": 0o644,
    "var/run/ld-elf.so.hints": 0o444,
}


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("release", RELEASES)
def test_modes_owners_and_times(release: str, arch: str, trees: dict[str, dict[str, Seen]]) -> None:
    tree = trees[f"runtime:{release}:{arch}"]
    for path, mode in MODES.items():
        member = tree[path].member
        assert (path, member.mode, member.uid, member.gid) == (path, mode, 0, 0)
        assert (member.uname, member.gname) == ("", "")
    for path, seen in tree.items():
        if path.startswith(("etc/ssl/certs/", "etc/ssl/untrusted/")):
            assert seen.member.mode == 0o444, path
    assert tree["tmp"].member.mode == 0o1777
    assert tree["root"].member.mode == 0o750
    assert tree["var/empty"].member.mode == 0o555
    assert tree["var/mail"].member.gid == 6


def golden(path: str) -> bytes:
    """Return an output of the real programs."""
    return (SYSDB / path).read_bytes()


def test_accounts_of_15_are_those_of_the_real_pwd_mkdb(trees: dict[str, dict[str, Seen]]) -> None:
    tree = trees["static:15.0:amd64"]
    assert tree["etc/master.passwd"].content == golden("pwd_mkdb/base-system/input/master.passwd")
    for name in ("pwd.db", "spwd.db", "passwd"):
        assert tree[f"etc/{name}"].content == golden(f"pwd_mkdb/base-system/expected/etc/{name}")


def test_passwd_of_14_keeps_comments(trees: dict[str, dict[str, Seen]]) -> None:
    """Programs before 15 copied comments; current ones drop them. The databases are the same."""
    old = trees["static:14.3:amd64"]
    master = old["etc/master.passwd"].content
    comments = [line for line in master.splitlines() if line.startswith(b"#")]
    assert comments
    assert all(line in old["etc/passwd"].content.splitlines() for line in comments)
    assert b"#" not in trees["static:15.0:amd64"]["etc/passwd"].content


def test_services_of_15_are_the_database_of_nothing(trees: dict[str, dict[str, Seen]]) -> None:
    for arch in ARCHITECTURES:
        content = trees[f"runtime:15.0:{arch}"]["var/db/services.db"].content
        assert hashlib.sha256(content).hexdigest() == EMPTY_SERVICES


def test_services_of_14_are_those_of_etc_services(trees: dict[str, dict[str, Seen]]) -> None:
    tree = trees["runtime:14.3:amd64"]
    pairs = parse_hash_file(tree["var/db/services.db"].content).pairs
    number = pairs[b"\xfessh/tcp\0"]
    assert pairs[number].startswith(b"ssh 22/tcp")


def test_certificates_of_15_are_those_of_the_real_certctl(
    trees: dict[str, dict[str, Seen]],
) -> None:
    tree = trees["static:15.0:amd64"]
    folder = SYSDB / "certctl/rehash-basic/expected"
    expected = {
        str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }
    expected.pop("METALOG", None)
    assert len(expected) > 10
    for path, content in expected.items():
        assert tree[path].content == content, path


def test_certificates_of_14_have_the_content_of_their_sources(
    trees: dict[str, dict[str, Seen]],
) -> None:
    """certctl.sh links; a hard link cannot cross layers and becomes a file of the same content."""
    tree = trees["static:14.3:amd64"]
    sources = {seen.content for p, seen in tree.items() if p.startswith("usr/share/certs/trusted/")}
    certs = [seen for p, seen in tree.items() if p.startswith("etc/ssl/certs/")]
    certs = [seen for seen in certs if seen.member.kind == tar.REGULAR]
    assert certs
    assert all(seen.content in sources for seen in certs)


def test_hints_name_the_library_directories(trees: dict[str, dict[str, Seen]]) -> None:
    assert "var/run/ld-elf.so.hints" not in trees["static:15.0:amd64"]
    content = trees["dynamic:15.0:amd64"]["var/run/ld-elf.so.hints"].content
    assert content[128:].rstrip(b"\0").split(b":")[:2] == [b"/lib", b"/usr/lib"]
    assert b"/usr/local/lib" in content[128:].rstrip(b"\0").split(b":")


@pytest.mark.parametrize("image", ["static", "dynamic", "runtime"])
def test_flags_are_dropped(image: str, built: Project) -> None:
    """A layer with schg makes container storage undeletable."""
    for path in layer_paths(built.output, f"freebsd-{image}:15.0-amd64"):
        assert all(not member.pax for member, _ in members(path))


def test_child_state_has_only_what_differs(built: Project) -> None:
    """What dynamic adds is libraries: accounts and certificates are its parent's."""
    last = layer_paths(built.output, "freebsd-dynamic:15.0-amd64")[-1]
    files = {m.name for m, _ in members(last) if m.kind != tar.DIRECTORY}
    assert files == {"var/db/pkg/local.sqlite", "var/run/ld-elf.so.hints"}


def test_database_lists_the_whole_line(trees: dict[str, dict[str, Seen]]) -> None:
    def packages(image: str) -> dict[str, bool]:
        raw = trees[f"{image}:15.0:amd64"]["var/db/pkg/local.sqlite"].content
        return {
            p.manifest.name: p.automatic for p in parse_localdb(raw, wal=b"", journal=b"").packages
        }

    assert packages("static") == {"FreeBSD-zoneinfo": False}
    assert packages("static").items() < packages("dynamic").items() < packages("runtime").items()
    assert packages("runtime")["FreeBSD-openssl"] is True
    assert packages("runtime")["FreeBSD-certctl"] is False


def test_layers_agree_with_their_specs(built: Project) -> None:
    """The spec of each layer in the store describes the layer: same paths, in the same order."""
    specs = []
    for memo in sorted((built.path / "build/store/memo/layer").rglob("*.json")):
        document = json.loads(memo.read_bytes())
        blob = built.path / "build/store/blobs/sha256"
        hexadecimal = document["inputs"]["spec"].removeprefix("sha256:")
        specs.append([e.path for e in mtree.parse_spec((blob / hexadecimal).read_bytes())])
    for path in layer_paths(built.output, "freebsd-runtime:15.0-amd64"):
        names = [m.name.rstrip("/") for m, _ in members(path)]
        assert names == sorted(names, key=lambda n: n.encode("utf-8", "surrogateescape"))
        assert names in specs
