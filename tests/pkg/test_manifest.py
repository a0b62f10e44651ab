"""PackageManifest: what pkg(8) writes is read, what it would misunderstand is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ManifestError
from pipeline.pkg import manifest as module
from pipeline.pkg.archive import read_manifest
from pipeline.pkg.manifest import (
    DirectoryRecord,
    FileRecord,
    Message,
    PackageManifest,
    parse_fflags,
    parse_perm,
    percent_decode,
)
from pipeline.pkg.names import check_name, check_path, check_version
from tests.archives import manifest_of

PACKAGES = Path(__file__).resolve().parents[2] / "fixtures" / "packages"
GOLDEN = sorted(PACKAGES.rglob("*.pkg"))


def parse(**changes: Any) -> PackageManifest:
    return PackageManifest.parse(json.dumps(manifest_of(**changes)).encode())


def refusal(**changes: Any) -> str:
    with pytest.raises(ManifestError) as caught:
        parse(**changes)
    return str(caught.value)


# ---------------------------------------------------------------- the real pkg's


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_packages_manifest_is_what_pkg_info_prints(path: Path) -> None:
    """`pkg info --raw -F` reads and writes it again: another text, the same value."""
    raw = PACKAGES / "expected" / path.relative_to(PACKAGES).with_suffix(".info-raw.json")
    with path.open("rb") as f:
        got, data = read_manifest(f, size=path.stat().st_size, what=path.name)
    assert got == PackageManifest.parse(raw.read_bytes())
    assert got == PackageManifest.parse(data)
    assert got.name_version == path.stem


def test_the_corpus_uses_every_key() -> None:
    """Each field of the value is filled by some package."""
    values = []
    for path in GOLDEN:
        with path.open("rb") as f:
            values.append(read_manifest(f, size=path.stat().st_size, what=path.name)[0])
    assert len(values) == 29
    unused = {n for n in PackageManifest.__slots__ if not any(getattr(v, n) for v in values)}
    assert unused == set()


# ---------------------------------------------------------------- the document (rules 1, 2, 6)


def test_a_minimal_manifest() -> None:
    """Absent lists are empty, absent numbers 0, absent switches off."""
    raw = {
        "name": "p",
        "origin": "o/p",
        "version": "1",
        "comment": "c",
        "desc": "d",
        "maintainer": "m",
        "www": "w",
        "prefix": "/",
    }
    got = PackageManifest.parse(json.dumps(raw).encode())
    assert (got.abi, got.arch, got.flatsize, got.licenselogic, got.vital) == (
        "",
        "",
        0,
        None,
        False,
    )
    assert (got.dep_formula, got.deps, got.files, got.scripts, got.messages) == (
        None,
        (),
        (),
        (),
        (),
    )
    for key in raw:
        with pytest.raises(ManifestError, match=f"^{key}: "):
            PackageManifest.parse(json.dumps({k: v for k, v in raw.items() if k != key}).encode())


def test_unknown_keys_are_passed_over() -> None:
    """Rule 6: pkg ignores them, and the bytes are kept beside the value."""
    assert parse(whatever={"a": [1]}) == parse()


def test_a_manifest_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rule 1."""
    monkeypatch.setattr(module, "MAX_MANIFEST", 100)
    with pytest.raises(ManifestError, match=r"^manifest of 101 bytes, want at most 100$"):
        PackageManifest.parse(b" " * 101)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"[]", "got list, want an object"),
        (b"name: p", "not JSON: "),
        (b"\xff", "not UTF-8 at byte 0"),
        (b'{"a":1,"a":2}', "key 'a' twice in one object"),
        (b'{"name":"\\ud800"}', "a lone surrogate in a string"),
    ],
)
def test_it_is_one_json_object(raw: bytes, message: str) -> None:
    """Rule 1: UCL that is not JSON is refused."""
    with pytest.raises(ManifestError) as caught:
        PackageManifest.parse(raw)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"comment": 1}, "comment: got an integer, want a string"),
        ({"comment": "a\0b"}, "comment: NUL in text"),
        ({"origin": "a\0b"}, "origin: NUL in text"),
        ({"arch": 1}, "arch: got an integer, want a string"),
        ({"flatsize": "1"}, "flatsize: got a string, want an integer"),
        ({"flatsize": True}, "flatsize: got a boolean, want an integer"),
        ({"flatsize": -1}, "flatsize: got -1, want 0 to 2^63-1"),
        ({"flatsize": 1 << 63}, f"flatsize: got {1 << 63}, want 0 to 2^63-1"),
        ({"vital": "yes"}, "vital: got a string, want a boolean"),
        ({"licenselogic": "xor"}, "licenselogic: got 'xor', want single, or, and"),
        ({"licenses": "BSD"}, "licenses: got a string, want a list"),
        ({"categories": ["a", 1]}, "categories[1]: got an integer, want a string"),
        ({"users": ["a", "b\0"]}, "users[1]: NUL in text"),
        ({"dep_formula": []}, "dep_formula: got a list, want a string"),
        ({"name": "-rf"}, "name: got package name '-rf', want letters, digits and ._+@~-"),
        ({"name": "a/b"}, "name: got package name 'a/b'"),
        ({"name": "a\0"}, "name: NUL in text"),
        ({"name": True}, "name: got a boolean, want a string"),
        ({"version": "1-2"}, "version: got package version '1-2'"),
        ({"version": ["1"]}, "version: got a list, want a string"),
        ({"deps": {"a b": {"origin": "x"}}}, "deps: got package name 'a b'"),
        ({"deps": {"a": []}}, "deps.a: empty list, want an object"),
        ({"deps": {"a": "1"}}, "deps.a: got a string, want an object"),
        ({"deps": {"a": {"version": "1"}}}, "deps.a.origin: missing"),
        ({"deps": {"a": {"origin": "x", "version": []}}}, "deps.a.version: got a list"),
        ({"deps": []}, "deps: got a list, want an object"),
        ({"options": {"A": 1}}, "options.A: got an integer, want a string"),
        ({"options": {"A": "\0"}}, "options.A: NUL in text"),
        ({"options": {"A\0": "on"}}, "options: NUL in text"),
        ({"annotations": {"a": 1}}, "annotations.a: got an integer, want a string"),
        ({"annotations": {"a": "\0"}}, "annotations.a: NUL in text"),
        (
            {"scripts": {"post-everything": "x"}},
            "scripts: unknown kind of script 'post-everything'",
        ),
        ({"scripts": {"install": ["x"]}}, "scripts.install: got a list, want a string"),
        ({"scripts": {"install": "x\0"}}, "scripts.install: NUL in text"),
        ({"lua_scripts": {"install": ["x"]}}, "lua_scripts: unknown kind of script 'install'"),
        ({"lua_scripts": {"post-install": "x"}}, "lua_scripts.post-install: got a string"),
        ({"lua_scripts": {"post-install": [1]}}, "lua_scripts.post-install: got an integer"),
        ({"lua_scripts": {"post-install": ["\0"]}}, "lua_scripts.post-install: NUL in text"),
        ({"messages": [1]}, "messages[0]: got an integer, want an object"),
        ({"messages": [{"type": "install"}]}, "messages[0].message: missing"),
        ({"messages": [{"message": "m", "type": "x"}]}, "messages[0].type: got 'x', want install"),
        ({"message": ["a", "\0"]}, "message[1]: NUL in text"),
        ({"files": []}, "files: got a list, want an object"),
        ({"files": {"/a": 1}}, "files['/a']: got an integer, want an object"),
        ({"files": {"/a": {"perm": "8"}}}, "files['/a']: got perm '8'"),
        ({"files": {"/a": {"sum": 1}}}, "files['/a'].sum: got an integer, want a string"),
        ({"files": {"/a": {"mtime": "x"}}}, "files['/a']: got mtime 'x', want seconds"),
        ({"files": {"/a": {"mtime": None}}}, "files['/a']: got mtime None, want seconds"),
        ({"files": {"/a": "1$x\0"}}, "files['/a']: NUL in text"),
        ({"files": {"/a": "--", "/%61": "--"}}, "files['/%61']: path twice"),
        ({"files": {"a": "--"}}, "files['a']: got path 'a', want an absolute path below /"),
        ({"directories": {"/": "y"}}, "directories['/']: got path '', want an absolute path"),
        ({"directories": {"/a/..": "y"}}, "directories['/a/..']: got path '/a/..'"),
        ({"directories": {"/a": 1}}, "directories['/a']: want a string, a boolean or an object"),
        ({"directories": {"/a": {"uname": 0}}}, "directories['/a'].uname: got an integer"),
        ({"dirs": [1]}, "dirs[0]: got an integer, want an object"),
        ({"dirs": "x"}, "dirs: got a string, want a list"),
        ({"config": ["a"]}, "config: got path 'a'"),
        ({"config": [1]}, "config[0]: got an integer, want a string"),
        ({"desc": "%00x"}, "%00 in percent-encoded text"),
    ],
)
def test_each_fault_has_its_place(changes: Any, message: str) -> None:
    """ManifestError, and the path inside the document."""
    assert refusal(**changes).startswith(message)


# ---------------------------------------------------------------- the fields


def test_name_and_version_may_be_numbers() -> None:
    """UCL writes `version: 7` as a number."""
    got = parse(name=7, version=20251101, deps={"x": [{"origin": "o", "version": 7}]})
    assert (got.name, got.version, got.deps[0].version) == ("7", "20251101", "7")


def test_lists_become_sorted_and_unique() -> None:
    """Rule 4: as pkg registers them, by their bytes."""
    assert parse(categories=["é", "b", "a", "b", "Z"]).categories == ("Z", "a", "b", "é")
    assert parse(shlibs=["b"], shlibs_required=["c", "b"]).shlibs_required == ("b", "c")


def test_dependencies_are_sorted_by_name() -> None:
    """A version may be missing, of a list the first counts."""
    got = parse(deps={"b": {"origin": "x/b"}, "a": [{"origin": "x/a", "version": "1"}, 7]})
    assert [(d.name, d.origin, d.version) for d in got.deps] == [
        ("a", "x/a", "1"),
        ("b", "x/b", ""),
    ]


@pytest.mark.parametrize(
    ("written", "read"),
    [("single", "single"), ("or", "or"), ("dual", "or"), ("and", "and"), ("multi", "and")],
)
def test_licence_logic_in_old_and_new_words(written: str, read: str) -> None:
    """Both `dual` and `multi` are accepted by pkg."""
    assert parse(licenselogic=written).licenselogic == read


def test_abi_falls_back_to_arch() -> None:
    """Older packages have only `arch`."""
    assert parse(abi=None).abi == "freebsd:15:x86:64"
    assert parse(arch=None).abi == "FreeBSD:15:amd64"
    assert parse(abi=None, arch=None).abi == ""


def test_options_and_annotations_are_sorted_pairs() -> None:
    """An option may be a boolean."""
    got = parse(options={"B": True, "A": "off", "C": False}, annotations={"z": "1", "a": ""})
    assert got.options == (("A", "off"), ("B", "on"), ("C", "off"))
    assert got.annotations == (("a", ""), ("z", "1"))


def test_files_in_both_forms() -> None:
    """Strings of pkg up to 2.3, objects since 2.4; keys are percent-encoded; sorted by bytes."""
    got = parse(
        files={
            "/b": "1$" + "0" * 64,
            "/a%20b": {
                "sum": "2$x",
                "uname": "root",
                "gname": "wheel",
                "perm": "0555",
                "fflags": "schg,uarch",
                "mtime": "-5",
            },
            "/l": {"symlink_target": "b", "mtime": 7, "perm": 755, "fflags": 2},
            "/n": {"symlink_target": None},
            "/dash": "-",
        }
    )
    assert got.files == (
        FileRecord(
            path="/a b",
            sum="2$x",
            uname="root",
            gname="wheel",
            perm=0o555,
            fflags=0x20800,
            mtime=-5,
            symlink_target=None,
        ),
        *(
            FileRecord(
                path=path,
                sum=sum_,
                uname=None,
                gname=None,
                perm=perm,
                fflags=fflags,
                mtime=mtime,
                symlink_target=target,
            )
            for path, sum_, perm, fflags, mtime, target in (
                ("/b", "1$" + "0" * 64, 0, 0, 0, None),
                ("/dash", None, 0, 0, 0, None),
                ("/l", None, 0o755, 2, 7, "b"),
                ("/n", None, 0, 0, 0, None),
            )
        ),
    )


def test_directories_in_all_forms() -> None:
    """`y`, a boolean, an object; the old array `dirs`; trailing slashes are dropped."""
    got = parse(
        directories={
            "/d/": {"uname": "u", "gname": "g", "perm": "0700", "fflags": "uchg"},
            "/c": "y",
            "/b": True,
        },
        dirs=["/a", "/b/", {"/e": {"perm": "1777"}}],
    )
    plain: dict[str, Any] = {"uname": None, "gname": None, "perm": 0, "fflags": 0}
    assert got.directories == (
        DirectoryRecord(path="/a", **plain),
        DirectoryRecord(path="/b", **plain),
        DirectoryRecord(path="/c", **plain),
        DirectoryRecord(path="/d", uname="u", gname="g", perm=0o700, fflags=2),
        DirectoryRecord(path="/e", **(plain | {"perm": 0o1777})),
    )


def test_the_first_description_of_a_directory_stands() -> None:
    """With and without a slash it is one directory."""
    got = parse(directories={"/a/": {"perm": "0700"}, "/a": {"perm": "0711"}})
    assert [d.perm for d in got.directories] == [0o700]


def test_scripts_have_one_order_and_lua_scripts_keep_theirs() -> None:
    """Rules 3, 4 and 7: shell scripts are percent-encoded, lua scripts are not."""
    got = parse(
        scripts={"post-install": "echo 100%25", "pre-install": "true"},
        lua_scripts={"pre-deinstall": ["%41"], "post-install": ["b", "a"]},
    )
    assert got.scripts == (("pre-install", "true"), ("post-install", "echo 100%"))
    assert got.lua_scripts == (
        ("pre-deinstall", "%41"),
        ("post-install", "b"),
        ("post-install", "a"),
    )


def test_messages_in_all_forms() -> None:
    """A string, a list, objects with a type and versions; `message` is the old key."""
    assert parse(message="hi").messages == (
        Message(text="hi", kind=None, minimum_version=None, maximum_version=None),
    )
    got = parse(
        message="old",
        messages=[
            "plain",
            {"message": "m", "type": "upgrade", "minimum_version": "1", "maximum_version": "2"},
            {"message": "n", "type": ""},
        ],
    )
    assert [(m.text, m.kind, m.minimum_version, m.maximum_version) for m in got.messages] == [
        ("plain", None, None, None),
        ("m", "upgrade", "1", "2"),
        ("n", None, None, None),
    ]


def test_config_files_are_sorted_and_unique_and_not_decoded() -> None:
    """Rules 3 and 4."""
    assert parse(config=["/b", "/a%20", "/b"]).config == ("/a%20", "/b")


# ---------------------------------------------------------------- percent-encoding (rule 3)


@pytest.mark.parametrize(
    ("text", "decoded"),
    [
        ("", ""),
        ("plain é", "plain é"),
        ("%41", "A"),
        ("%41%62", "Ab"),
        ("a%25b", "a%b"),
        ("100%", "100%"),
        ("100%2", "100%2"),
        ("%zz", "%zz"),
        ("%%41", "%A"),
        ("%4%41", "%4A"),
        ("%c3%a9", "é"),
        ("%C3%A9", "é"),
        ("%ff", "\udcff"),
        ("é%41", "éA"),
        ("%2541", "%41"),
        ("% 1", "% 1"),
    ],
)
def test_percent_decoding_is_that_of_pkg(text: str, decoded: str) -> None:
    """libpkg/pkg_manifest.c, url_decode: two hexadecimal digits or the text as it is."""
    assert percent_decode(text) == decoded


@pytest.mark.property
@given(st.binary(max_size=40).map(lambda raw: raw.replace(b"\0", b"")))
def test_percent_encoding_survives(raw: bytes) -> None:
    """What pkg encodes, every byte, comes back."""
    encoded = "".join(f"%{byte:02x}" for byte in raw)
    assert percent_decode(encoded).encode("utf-8", "surrogateescape") == raw


# ---------------------------------------------------------------- single values


@pytest.mark.parametrize("name", ["a", "_", "FreeBSD-runtime", "py311-x_y", "g++", "a@b~c.d", "7"])
def test_names_of_packages(name: str) -> None:
    """They become parts of file names and URLs."""
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", ".a", "a b", "a/b", "a\n", "é", "a" * 256, "a:b"])
def test_other_names_are_refused(name: str) -> None:
    """Nothing that a shell, a path or a URL would read otherwise."""
    with pytest.raises(ManifestError, match=r"^got package name "):
        check_name(name)


@pytest.mark.parametrize("version", ["1", "1.4.2_3,1", "15.0p1", "2.0.b3", "1+2~3", "1:2"])
def test_versions_of_packages(version: str) -> None:
    """Revision, epoch, and what ports use."""
    assert check_version(version) == version


@pytest.mark.parametrize("version", ["", "1-2", "1 2", "1/2", ",1", "1\n", "é", "1" * 256])
def test_other_versions_are_refused(version: str) -> None:
    """A dash would make name-version ambiguous."""
    with pytest.raises(ManifestError, match=r"^got package version "):
        check_version(version)


@pytest.mark.parametrize(
    "path", ["/a", "/a b/é", "/...", "/a/.b", "/" + "c" * 255, ("/" + "c" * 254) * 4]
)
def test_normal_paths(path: str) -> None:
    """Rule 5."""
    assert check_path(path) == path


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "got path '', want an absolute path below /"),
        ("/", "got path '/', want an absolute path below /"),
        ("a", "got path 'a', want an absolute path below /"),
        ("//a", "got path '//a', want no empty, . or .. component"),
        ("/a/", "got path '/a/', want no empty, . or .. component"),
        ("/a//b", "got path '/a//b', want no empty, . or .. component"),
        ("/./a", "got path '/./a', want no empty, . or .. component"),
        ("/a/..", "got path '/a/..', want no empty, . or .. component"),
        ("/a\0b", "NUL in path '/a\\x00b'"),
        ("/" + "c" * 256, "path component of 256 bytes, want 255"),
        ("/" + "é" * 128, "path component of 256 bytes, want 255"),
        (("/" + "c" * 255) * 4 + "/", "path of 1025 bytes, want at most 1024"),
    ],
)
def test_other_paths_are_refused(path: str, message: str) -> None:
    """Rule 5; lengths are those of the bytes."""
    with pytest.raises(ManifestError) as caught:
        check_path(path)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("value", "mode"),
    [
        ("0555", 0o555),
        ("4755", 0o4755),
        ("1777", 0o1777),
        ("0", 0),
        ("000644", 0o644),
        (755, 0o755),
    ],
)
def test_permissions(value: int | str, mode: int) -> None:
    """An integer's digits are octal, as pkg reads them."""
    assert parse_perm(value) == mode


@pytest.mark.parametrize("value", ["", "8", "77777", "0o755", "u+x", -1, 888, None, True, "755\n"])
def test_other_permissions_are_refused(value: Any) -> None:
    """Nothing beyond twelve bits, nothing symbolic."""
    with pytest.raises(ManifestError, match=r"^got perm "):
        parse_perm(value)


@pytest.mark.parametrize(
    ("value", "bits"),
    [
        (0, 0),
        (0x20000, 0x20000),
        ("", 0),
        ("none", 0),
        ("0", 0),
        ("schg", 0x20000),
        ("simmutable,uarch", 0x20800),
        ("hidden,,nodump", 0x8001),
    ],
)
def test_file_flags(value: int | str, bits: int) -> None:
    """strtofflags(3): names or a number."""
    assert parse_fflags(value) == bits


@pytest.mark.parametrize("value", [-1, 1 << 32, True, None, [], "noschg", "schg uchg"])
def test_other_file_flags_are_refused(value: Any) -> None:
    """A flag that nobody knows is not dropped."""
    with pytest.raises(ManifestError, match=r"^got (fflags|file flag) "):
        parse_fflags(value)


@pytest.mark.parametrize(
    ("value", "mtime"), [(0, 0), (1762000000, 1762000000), ("1762000000", 1762000000), ("-1", -1)]
)
def test_modification_times(value: int | str, mtime: int) -> None:
    """Numbers, also as text."""
    assert parse(files={"/a": {"mtime": value}}).files[0].mtime == mtime
