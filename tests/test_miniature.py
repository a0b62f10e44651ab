"""The miniature repositories are what their generator makes, and say nothing that is not so."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import shutil
import subprocess
from functools import cache
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from fixtures.miniature import base, generate, ports, synthetic
from fixtures.miniature.archive import HARDLINK, Member, Packing, archive
from fixtures.miniature.elf import ElfKind, is_elf, read_elf
from fixtures.miniature.entry import EntryKind, directory, file, hardlink, symlink
from fixtures.miniature.package import Package, encode
from fixtures.miniature.repository import build_repository, write_repository
from fixtures.miniature.signer import Mode, ecdsa_signer, ed25519_signer
from fixtures.miniature.style import Style
from fixtures.miniature.target import ASSETS, Target
from pipeline.formats import mtree
from pipeline.formats.decompression import open_decompressed
from pipeline.formats.tar import TarReader
from pipeline.pkg.manifest import PackageManifest
from pipeline.pkg.sum import Sum, symlink_content

if TYPE_CHECKING:
    from pathlib import Path

DIST_PLACES = {"root": "", "var": "/var", "usr": "/usr", "include": "/usr/include"}

STATIC = ("zoneinfo",)
DYNAMIC = ("clibs", "openssl-lib")
RUNTIME = (
    "runtime",
    "certctl",
    "kerberos-lib",
    "libarchive",
    "libexecinfo",
    "libucl",
    "fetch",
    "rc",
    "pkg-bootstrap",
    "mtree",
)


def read_archive(raw: bytes) -> dict[str, tuple[object, bytes]]:
    """Return the members of a compressed archive by name."""
    source = open_decompressed(io.BytesIO(raw), limit=1 << 28, what="archive")
    reader = TarReader(source)
    return {member.name: (member, reader.read()) for member in reader}


@cache
def base_packages(target: Target) -> tuple[Package, ...]:
    return tuple(base.packages(target))


@cache
def ports_packages(target: Target) -> tuple[Package, ...]:
    return tuple(ports.packages(target))


def folders(root: Path) -> list[Path]:
    paths = [generate.base_path(t) for t in generate.TARGETS]
    paths += [generate.ports_path(t) for t in generate.TARGETS]
    return [root / path for path in paths]


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


targets = pytest.mark.parametrize("target", generate.TARGETS, ids=lambda t: t.abi)
both_kinds = pytest.mark.parametrize("folder", folders(generate.REPOSITORIES), ids=lambda f: f.name)


# ---------------------------------------------------------------- the committed repositories


def test_generator_writes_the_committed_bytes(tmp_path: Path) -> None:
    """A fixture that cannot be made again is a binary nobody can review."""
    generate.generate(tmp_path)
    assert digests(tmp_path) == digests(generate.REPOSITORIES)


def test_regeneration_replaces_what_was_there(tmp_path: Path) -> None:
    stale = tmp_path / generate.base_path(generate.TARGETS[0]) / "All" / "stale-1.0.pkg"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"")
    generate.write_target(tmp_path, generate.TARGETS[0])
    assert not stale.exists()


def test_size_stays_fit_for_a_repository() -> None:
    size = sum(path.stat().st_size for path in generate.REPOSITORIES.rglob("*") if path.is_file())
    assert 0 < size < 3_000_000


@both_kinds
def test_catalogues_agree_with_the_packages(folder: Path) -> None:
    data = json.loads(read_archive((folder / "data.pkg").read_bytes())["data"][1])
    lines = read_archive((folder / "packagesite.pkg").read_bytes())["packagesite.yaml"][1]
    records = [json.loads(line) for line in lines.splitlines()]
    assert data["packages"] == records
    assert len(records) >= 8
    listed = {"meta", "meta.conf", "data.pkg", "packagesite.pkg"}
    for record in records:
        raw = (folder / record["repopath"]).read_bytes()
        listed.add(record["repopath"])
        assert len(raw) == record["pkgsize"]
        Sum.parse(record["sum"]).verify_bytes(raw, what=record["repopath"])
        members = read_archive(raw)
        compact = json.loads(members["+COMPACT_MANIFEST"][1])
        extra = {"sum", "path", "repopath", "pkgsize"}
        assert {k: v for k, v in record.items() if k not in extra} == compact
    present = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert present == listed


@both_kinds
def test_every_package_is_what_its_manifest_says(folder: Path) -> None:
    """The real pkg refuses a payload member that the manifest does not list."""
    for path in sorted(folder.rglob("All/**/*.pkg")):
        members = read_archive(path.read_bytes())
        manifest = PackageManifest.parse(members["+MANIFEST"][1])
        payload = {n: m for n, m in members.items() if not n.startswith("+")}
        files = {record.path for record in manifest.files}
        folders = {record.path + "/" for record in manifest.directories}
        assert files | folders == set(payload)
        for record in manifest.files:
            member, content = payload[record.path]
            assert isinstance(member, object)
            kind = getattr(member, "kind", b"")
            link = getattr(member, "link", "")
            if kind == HARDLINK:
                content = payload[link][1]
            elif link:
                content = symlink_content(link.encode()) or b""
            assert record.sum is not None
            Sum.parse(record.sum).verify_bytes(content, what=record.path)


def test_first_name_of_a_hard_link_is_the_file() -> None:
    """A link must point at a member that is already extracted."""
    for target in generate.TARGETS:
        for package in base_packages(target):
            seen = set()
            for member in package.members(target.release.style):
                if member.kind == HARDLINK:
                    assert member.link in seen
                seen.add(member.name)


# ---------------------------------------------------------------- trust


@targets
def test_base_is_signed_by_the_trusted_fingerprint(target: Target) -> None:
    folder = generate.REPOSITORIES / generate.base_path(target)
    trusted = (generate.KEYS / "pkgbase/trusted/miniature-2025").read_text()
    for archive_name, name in (("data.pkg", "data"), ("packagesite.pkg", "packagesite.yaml")):
        members = read_archive((folder / archive_name).read_bytes())
        assert list(members) == [f"{name}.sig", f"{name}.pub", name]
        public = members[f"{name}.pub"][1]
        assert hashlib.sha256(public).hexdigest() in trusted
        key = serialization.load_pem_public_key(public)
        assert isinstance(key, rsa.RSAPublicKey)
        message = hashlib.sha256(members[name][1]).hexdigest().encode()
        key.verify(members[f"{name}.sig"][1], message, padding.PKCS1v15(), hashes.SHA256())


def test_keys_and_fingerprints_belong_together() -> None:
    keys = generate.KEYS
    assert (keys / "pkgbase.pub").read_bytes() == generate.base_signer().public_key
    assert (keys / "ports.pub").read_bytes() == generate.ports_signer().public_key
    revoked = (keys / "pkgbase/revoked/miniature-2024").read_bytes()
    assert revoked == generate.revoked_signer().fingerprint_file()
    assert generate.revoked_signer().fingerprint != generate.base_signer().fingerprint


@targets
def test_ports_are_signed_by_key(target: Target) -> None:
    folder = generate.REPOSITORIES / generate.ports_path(target)
    members = read_archive((folder / "data.pkg").read_bytes())
    assert list(members) == ["signature", "data"]
    assert members["signature"][1].startswith(b"$PKGSIGN:eddsa$0")


# ---------------------------------------------------------------- content


@targets
def test_images_find_their_libraries_in_the_packages_they_name(target: Target) -> None:
    packages = {p.name.removeprefix("FreeBSD-"): p for p in base_packages(target)}
    provided: set[str] = set()
    required: set[str] = set()
    for name in STATIC + DYNAMIC + RUNTIME:
        provided |= set(packages[name].shlibs_provided)
        required |= set(packages[name].shlibs_required)
    assert required <= provided
    assert f"libcrypto.so.{target.openssl}" in required


@targets
def test_everything_that_is_needed_is_somewhere(target: Target) -> None:
    packages = base_packages(target) + ports_packages(target)
    names = {package.name for package in packages}
    provided = {lib for package in packages for lib in package.shlibs_provided}
    offered = {offer for package in packages for offer in package.provides}
    for package in packages:
        assert set(package.shlibs_required) <= provided, package.name
        assert set(package.deps) <= names, package.name
        assert set(package.requires) <= offered, package.name


@targets
def test_declared_versions_of_dependencies_are_the_offered_ones(target: Target) -> None:
    packages = {p.name: p for p in base_packages(target) + ports_packages(target)}
    versions = {package.version for package in base_packages(target)}
    assert versions == {target.release.version, target.release.patched}
    for package in packages.values():
        for name, (origin, version) in package.deps.items():
            assert (packages[name].origin, packages[name].version) == (origin, version)


@targets
def test_owners_are_accounts_of_the_runtime_package_or_made_by_a_script(target: Target) -> None:
    runtime = next(p for p in base_packages(target) if p.name == "FreeBSD-runtime")
    contents = {e.path: e.content.decode() for e in runtime.entries if e.path.startswith("/etc/")}
    users = {line.partition(":")[0] for line in contents["/etc/master.passwd"].splitlines()}
    groups = {line.partition(":")[0] for line in contents["/etc/group"].splitlines()}
    for package in base_packages(target) + ports_packages(target):
        assert {e.uname for e in package.entries} <= users | set(package.users)
        assert {e.gname for e in package.entries} <= groups | set(package.groups)


@targets
def test_no_path_belongs_to_two_packages(target: Target) -> None:
    seen: dict[str, str] = {}
    for package in base_packages(target) + ports_packages(target):
        for entry in package.entries:
            if entry.kind is not EntryKind.DIRECTORY:
                assert entry.path not in seen, f"{package.name} and {seen.get(entry.path)}"
                seen[entry.path] = package.name


@targets
def test_directories_of_packages_agree_with_mtree_and_each_other(target: Target) -> None:
    """`static` makes the directories out of the specifications before any package comes."""
    known: dict[str, tuple[object, ...]] = {}
    package = next(p for p in base_packages(target) if p.name == "FreeBSD-mtree")
    specifications = {e.path.rpartition("/")[2]: e.content for e in package.entries}
    for name, place in DIST_PLACES.items():
        for entry in mtree.parse_dist(specifications[f"BSD.{name}.dist"]):
            path = f"{place}/{entry.path}"
            known[path] = (entry.mode, entry.user, entry.group, entry.flags)
    assert len(known) > 250
    assert known["/var/empty"] == (0o555, "root", "wheel", "schg")
    for owner in base_packages(target):
        for e in owner.entries:
            if e.kind is EntryKind.DIRECTORY:
                found = (e.mode, e.uname, e.gname, e.fflags)
                assert known.setdefault(e.path, found) == found, e.path


@targets
def test_stubs_are_objects_of_the_architecture(target: Target) -> None:
    kinds = set()
    for package in base_packages(target) + ports_packages(target):
        for entry in package.entries:
            if is_elf(entry.content):
                elf = read_elf(entry.content)
                kinds.add(elf.kind)
                assert (elf.arch, elf.osversion) == (target.arch, target.release.osversion)
                numbered = elf.kind is ElfKind.LIBRARY and ".so." in entry.path
                assert elf.soname == (entry.path.rpartition("/")[2] if numbered else None)
    assert kinds == set(ElfKind)


@targets
def test_readelf_understands_the_stubs(target: Target, tmp_path: Path) -> None:
    readelf = shutil.which("readelf")
    if readelf is None:
        pytest.skip("no readelf here")
    library = next(p for p in base_packages(target) if p.name == "FreeBSD-openssl-lib")
    content = next(e.content for e in library.entries if "libssl.so" in e.path)
    path = tmp_path / "libssl"
    path.write_bytes(content)
    result = subprocess.run(
        [readelf, "-W", "-h", "-l", "-d", str(path)], capture_output=True, text=True, check=True
    )
    assert result.stderr == ""
    assert f"Shared library: [libcrypto.so.{target.openssl}]" in result.stdout
    assert f"Library soname: [libssl.so.{target.openssl}]" in result.stdout
    assert "UNIX - FreeBSD" in result.stdout


def test_releases_differ_where_pkgbase_does() -> None:
    scripts = {}
    for target in generate.TARGETS:
        for package in base_packages(target):
            if package.scripts:
                scripts[target.major, package.name] = sorted(package.scripts)
    install = ["post-install"]
    assert scripts == {
        (14, "FreeBSD-runtime"): install,
        (14, "FreeBSD-utilities"): install,
        (14, "FreeBSD-certctl"): install,
        (15, "FreeBSD-runtime"): install,
        (15, "FreeBSD-utilities"): install,
        (15, "FreeBSD-caroot"): ["post-deinstall", "post-install"],
    }


def test_what_a_package_can_hold_is_held_by_some() -> None:
    """The images of the first build meet every kind of entry."""
    target = generate.TARGETS[-1]
    entries = [e for p in base_packages(target) for e in p.entries]
    paths = [e.path for e in entries]
    assert {e.kind for e in entries} == set(EntryKind)
    assert any(not path.isascii() for path in paths)
    assert any("%" in path for path in paths)
    assert any(len(path) > 256 for path in paths)
    assert any(len(path.rpartition("/")[2]) > 100 for path in paths)
    assert any(len(e.target) > 100 for e in entries)
    assert {0o4555, 0o2555, 0o4554, 0o1777, 0} <= {e.mode for e in entries}
    assert {"schg", "nodump", "uarch,nodump"} <= {e.fflags for e in entries}
    assert any(e.kind is EntryKind.FILE and not e.content for e in entries)
    assert any(p.messages for p in base_packages(target))
    assert sum(p.vital for p in base_packages(target)) == 2
    assert len(list((ASSETS / "certs").rglob("*.pem"))) == 15


# ---------------------------------------------------------------- packages and repositories of tests


HELLO = Package(
    name="hello",
    entries=(
        directory("/usr/local/share/hello"),
        file("/usr/local/bin/hello", "#!/bin/sh\n", mode=0o555),
        hardlink("/usr/local/bin/again", "/usr/local/bin/hello"),
        symlink("/usr/local/bin/hi", "hello"),
        file("/usr/local/etc/hello.conf", "a = 1\n", is_config=True),
    ),
)


@pytest.mark.parametrize("style", Style)
def test_a_package_of_a_few_lines_parses(style: Style) -> None:
    members = read_archive(HELLO.to_bytes(style))
    manifest = PackageManifest.parse(members["+MANIFEST"][1])
    assert manifest.name_version == "hello-1.0"
    assert manifest.arch == "freebsd:15:x86:64"
    assert manifest.config == ("/usr/local/etc/hello.conf",)
    assert manifest.flatsize == 10 + 5 + 6
    assert [record.path for record in manifest.directories] == ["/usr/local/share/hello"]


@pytest.mark.parametrize("packing", Packing)
def test_every_packing_is_read_back(packing: Packing) -> None:
    assert read_archive(HELLO.to_bytes(packing=packing)) == read_archive(HELLO.to_bytes())


def test_styles_write_files_as_their_pkg_does() -> None:
    package = Package(name="x", entries=(file("/x", b"1", fflags="schg"), file("/y", b"2")))
    x, y = "1$" + hashlib.sha256(b"1").hexdigest(), "1$" + hashlib.sha256(b"2").hexdigest()
    assert package.manifest(Style.PKG_2_3)["files"] == {"/x": x, "/y": y}
    common = {"uname": "root", "gname": "wheel", "perm": "0644", "mtime": 1764288000}
    assert package.manifest(Style.PKG_2_4)["files"] == {
        "/x": {"sum": x, **common, "fflags": 0x20000},
        "/y": {"sum": y, **common, "fflags": 0},
    }
    assert package.manifest(Style.PKG_2_7)["files"] == {
        "/x": {"sum": x, **common, "fflags": "schg"},
        "/y": {"sum": y, **common},
    }
    files = package.manifest(Style.PKG_2_8)["files"]
    assert isinstance(files, dict)
    assert files["/x"]["sum"].startswith("2$")


def test_overrides_make_manifests_that_lie() -> None:
    package = dataclasses.replace(
        HELLO, overrides={"version": "9", "www": None, "files": {}, "unknown": [1]}
    )
    full, compact = package.manifest(), package.compact_manifest()
    assert full["version"] == compact["version"] == "9"
    assert "www" not in full
    assert full["files"] == {}
    assert "files" not in compact
    assert full["unknown"] == [1]


def test_members_may_be_as_hostile_as_wanted() -> None:
    members = [*HELLO.members(), Member(name="../../etc/passwd", content=b"evil")]
    raw = archive(members)
    assert read_archive(raw)["../../etc/passwd"][1] == b"evil"


def test_hard_link_without_its_file_is_a_mistake_of_the_test() -> None:
    package = Package(name="x", entries=(hardlink("/a", "/b"),))
    with pytest.raises(ValueError, match="which is no file"):
        package.manifest()


def test_catalogue_may_be_altered() -> None:
    repository = build_repository(
        [HELLO, Package(name="gone")],
        alter=lambda record: None if record["name"] == "gone" else {**record, "pkgsize": 1},
    )
    assert [record["pkgsize"] for record in repository.records] == [1]
    assert len([path for path in repository.files if path.startswith("All/")]) == 2


@pytest.mark.parametrize("mode", Mode)
def test_signing_is_deterministic(mode: Mode) -> None:
    for make in (ed25519_signer, ecdsa_signer):
        first, second = (
            build_repository([HELLO], make("seed", mode)).files["data.pkg"] for _ in range(2)
        )
        assert first == second
        assert first != build_repository([HELLO], make("other", mode)).files["data.pkg"]


def test_order_of_packages_and_entries_does_not_matter(tmp_path: Path) -> None:
    turned = dataclasses.replace(HELLO, entries=HELLO.entries[::-1])
    other = Package(name="other", version="2.0_1,3")
    write_repository(tmp_path / "a", [HELLO, other])
    write_repository(tmp_path / "b", [other, turned])
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_document_is_utf8_without_white_space() -> None:
    assert encode({"a": "ä/ b", "c": [1]}) == '{"a":"ä/ b","c":[1]}'.encode()


# ---------------------------------------------------------------- synthetic


SMALL = synthetic.Plan(packages=9, files=120, size=12_000_000)


def test_synthetic_repository_has_the_sizes_of_its_plan() -> None:
    sizes = [size for package in synthetic.sizes_of(SMALL) for size in package]
    assert len(sizes) == SMALL.files
    assert sum(sizes) == SMALL.size
    full = synthetic.Plan()
    sizes = [size for package in synthetic.sizes_of(full) for size in package]
    assert (len(sizes), sum(sizes)) == (15_000, 300_000_000)
    assert sum(size >= 1_000_000 for size in sizes) > 20
    assert sorted(sizes)[len(sizes) // 2] < 20_000


def test_synthetic_repository_does_not_depend_on_workers(tmp_path: Path) -> None:
    repository = synthetic.write_synthetic(tmp_path / "1", SMALL, workers=1)
    synthetic.write_synthetic(tmp_path / "2", SMALL, workers=2)
    assert digests(tmp_path / "1") == digests(tmp_path / "2")
    packed = sum(p.stat().st_size for p in (tmp_path / "1" / "All").rglob("*.pkg"))
    assert len(repository.records) == SMALL.packages
    assert 3 < SMALL.size / packed < 7


def test_changed_package_is_the_only_change() -> None:
    changed = dataclasses.replace(SMALL, changed=frozenset({4}))
    for number, sizes in enumerate(synthetic.sizes_of(SMALL)):
        before = synthetic.make_package(SMALL, number, sizes)
        after = synthetic.make_package(changed, number, sizes)
        assert (before == after) is (number != 4)
