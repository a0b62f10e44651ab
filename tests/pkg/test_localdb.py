"""The canonical database: what stands in which column, in which order, in which bytes."""

from __future__ import annotations

import dataclasses
import random
import time
import tracemalloc
from typing import TYPE_CHECKING, Any

import apsw
import pytest

from fixtures.localdb.corpus import INSTALLED_AT, cases
from fixtures.localdb.small import installed, many
from pipeline.errors import ConfigurationError, DatabaseError
from pipeline.formats.digest import Digest
from pipeline.pkg import localdb
from pipeline.pkg.localdb import HEADER_SIZE, build_localdb, check_library, config_content
from pipeline.pkg.localdb_schema import DEFAULT_SCHEMA, SCHEMAS
from tests.elsewhere import run_elsewhere

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.pkg.localdb import InstalledPackage

EPOCH = 1_700_000_000

GOLDEN = {
    36: "5c2e289d781108c83a4d978e6c541f921f214eaa06df4db0d001998df484e538",
    37: "95cef574016b7adc02bc1b7165e2461c96b5706478163a3fcf817d3ec1e46927",
    38: "9aab02df81de46e6b546707edd3a55def742bf824967e57ad4a3471283486a42",
    39: "85fd5a7e9f7238265a96fd2ea37e5ef051ec70f7fed49a26954abcef93606873",
    40: "3aa0bbdff8574c0889951b787e968ac44ac625cf674a1eb218225d9d98c2476e",
    41: "0126cd9d77f1b73a5b74ee0ec4b85980622c1a4ad6a573a8e727717e6725bb8f",
    42: "12fc8297d44f0ab949763e6ff42d0a99d2ccacbb60b7f36e7026ccd04d94b82d",
}
"""The packages of case `2.8.4-all` at every schema. A change here is a new output format."""


def _golden_packages() -> tuple[InstalledPackage, ...]:
    (case,) = (c for c in cases() if c.name == "2.8.4-all")
    return case.installed_packages()


def _rows(
    packages: Iterable[InstalledPackage], query: str, *, schema: int = DEFAULT_SCHEMA
) -> list[tuple[object, ...]]:
    """Build, let SQLite read it, and return the rows of a query."""
    connection = apsw.Connection(":memory:")
    connection.deserialize("main", build_localdb(packages, schema=schema, source_date_epoch=EPOCH))
    return list(connection.execute(query))


# ---------------------------------------------------------------- bytes


@pytest.mark.golden
@pytest.mark.parametrize("schema", SCHEMAS)
def test_golden_bytes(schema: int) -> None:
    """Pinned: whoever changes a byte changes the output format."""
    raw = build_localdb(_golden_packages(), schema=schema, source_date_epoch=INSTALLED_AT)
    assert Digest.of(raw).hex == GOLDEN[schema]


def test_order_of_input_does_not_matter() -> None:
    """Shuffled packages, each with shuffled lists, give the same bytes."""
    packages = list(_golden_packages())
    expected = build_localdb(packages, schema=42, source_date_epoch=INSTALLED_AT)
    shuffled = random.Random(7)
    for _ in range(3):
        shuffled.shuffle(packages)
        mixed = []
        for package in packages:
            manifest = package.manifest
            changes: dict[str, Any] = {
                field: tuple(
                    shuffled.sample(getattr(manifest, field), len(getattr(manifest, field)))
                )
                for field in ("files", "directories", "deps", "options", "config", "users")
            }
            mixed.append(
                dataclasses.replace(package, manifest=dataclasses.replace(manifest, **changes))
            )
        assert build_localdb(mixed, schema=42, source_date_epoch=INSTALLED_AT) == expected


def test_surroundings_do_not_matter() -> None:
    """Hash seed, time zone, locale, umask and working directory change nothing."""
    code = (
        "from fixtures.localdb.small import many\n"
        "from pipeline.pkg.localdb import build_localdb\n"
        "from pipeline.formats.digest import Digest\n"
        "print(Digest.of(build_localdb(many(20, files=20), schema=42, source_date_epoch=1)))"
    )
    assert len(run_elsewhere(code)) == 1


@pytest.mark.parametrize("schema", SCHEMAS)
def test_header_is_constant_but_for_size_and_schema(schema: int) -> None:
    """No counter, no version of a library, no journal mode but the plain one (L15)."""
    raw = build_localdb(many(3, files=9), schema=schema, source_date_epoch=EPOCH)
    header = bytearray(raw[:HEADER_SIZE])
    assert int.from_bytes(header[28:32], "big") * 4096 == len(raw)
    assert int.from_bytes(header[60:64], "big") == schema
    header[28:32] = header[60:64] = bytes(4)
    assert header.hex() == (
        "53514c69746520666f726d6174203300" "1000010100402020" "00000001" "00000000"
        "0000000000000000" "00000001" "00000004" "0000000000000000" "00000001" "00000000"
        "0000000000000000" + "00" * 20 + "00000001" "002e6ad0"
    )  # fmt: skip


@pytest.mark.parametrize("schema", SCHEMAS)
def test_sqlite_finds_nothing_wrong(schema: int) -> None:
    """integrity_check and foreign_key_check are clean; nothing is free, nothing is analysed."""
    packages = _golden_packages()
    for pragma, answer in (
        ("integrity_check", [("ok",)]),
        ("foreign_key_check", []),
        ("freelist_count", [(0,)]),
        ("user_version", [(schema,)]),
        ("journal_mode", [("memory",)]),
        ("encoding", [("UTF-8",)]),
    ):
        assert _rows(packages, f"PRAGMA {pragma}", schema=schema) == answer, pragma
    assert _rows(packages, "SELECT name FROM sqlite_schema WHERE name LIKE '%stat%'") == []


def test_no_packages_is_a_database_too() -> None:
    """An empty root has one: it has tables and the lock row."""
    assert _rows([], "SELECT count(*) FROM packages") == [(0,)]
    assert _rows([], "SELECT * FROM pkg_lock") == [(0, 0, 0)]


def test_a_library_that_is_too_old_is_refused() -> None:
    """3.40 splits pages elsewhere."""
    with pytest.raises(
        ConfigurationError, match=r"got SQLite 3.41.2, want at least 3.42"
    ) as caught:
        check_library("3.41.2")
    assert caught.value.hint is not None
    check_library("3.42.0")
    check_library("4.0.0")


def test_a_library_that_lays_out_otherwise_is_refused() -> None:
    """A build option that reserves bytes on each page would show in the header."""
    raw = build_localdb([], schema=42, source_date_epoch=EPOCH)
    odd = raw[:20] + b"\x08" + raw[21:]
    with pytest.raises(ConfigurationError, match=r"SQLite wrote 08402020 at byte 20"):
        localdb._with_header(odd, 42)


def test_two_hundred_packages_take_about_a_second_and_little_memory() -> None:
    """15,000 files; generous, so that a busy machine does not fail it."""
    packages = many(200, files=75)
    start = time.perf_counter()
    raw = build_localdb(packages, schema=42, source_date_epoch=EPOCH)
    assert time.perf_counter() - start < 3
    assert len(raw) < 8 << 20
    tracemalloc.start()
    build_localdb(packages, schema=42, source_date_epoch=EPOCH)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 32 << 20


# ---------------------------------------------------------------- rows


def test_package_columns() -> None:
    """Every column of `packages`, including those that pkg never fills."""
    package = dataclasses.replace(
        installed(
            "p",
            flatsize=2**62,
            vital=True,
            licenselogic="dual",
            dep_formula="a >= 1",
            message="hello",
            desc="100%25 d",
        ),
        automatic=True,
        locked=True,
        time=77,
        manifestdigest="2$2$x",
    )
    (row,) = _rows([package], "SELECT * FROM packages")
    assert row == (
        1,
        "misc/p",
        "p",
        "1.0",
        "comment",
        "100% d",
        None,
        '[{"message":"hello"}]',
        "FreeBSD:15:amd64",
        "nobody@example.org",
        "https://example.org",
        "/usr/local",
        2**62,
        1,
        1,
        124,
        77,
        "2$2$x",
        None,
        "a >= 1",
        1,
    )


@pytest.mark.parametrize(
    ("keys", "number"),
    [({}, 0), ({"licenselogic": "single"}, 1), ({"licenselogic": "and"}, 38)],
)
def test_license_logic(keys: dict[str, Any], number: int) -> None:
    """A manifest that says nothing gives 0 (pkg_new)."""
    assert _rows([installed("p", **keys)], "SELECT licenselogic FROM packages") == [(number,)]


def test_ids_follow_names_and_values_by_their_bytes() -> None:
    """Packages by name, dictionaries by value; é (C3 A9) comes after z."""
    packages = [
        installed("b", categories=["z", "é"], users=["u"]),
        installed("B", categories=["a", "Z"]),
    ]
    assert _rows(packages, "SELECT id, name FROM packages") == [(1, "B"), (2, "b")]
    assert _rows(packages, "SELECT id, name FROM categories") == [
        (1, "Z"),
        (2, "a"),
        (3, "z"),
        (4, "é"),
    ]
    assert _rows(packages, "SELECT rowid, * FROM pkg_categories") == [
        (1, 1, 1),
        (2, 1, 2),
        (3, 2, 3),
        (4, 2, 4),
    ]


def test_file_columns() -> None:
    """Numbers are decimal, names are NULL where absent and empty where empty."""
    files = {
        "/a": {"sum": "1$x", "uname": "root", "gname": "", "perm": "4755", "fflags": "schg"},
        "/b": "1$" + "0" * 64,
        "/c": {"sum": "-", "symlink_target": "x", "mtime": EPOCH + 1},
        "/d": {"mtime": -1},
        "/e": {"mtime": EPOCH - 1},
    }
    assert _rows([installed("p", files=files)], "SELECT * FROM files") == [
        ("/a", "1$x", "root", "", 0o4755, 0x20000, 0, None, 1),
        ("/b", "1$" + "0" * 64, None, None, 0, 0, 0, None, 1),
        ("/c", "-", None, None, 0, 0, EPOCH, "x", 1),
        ("/d", None, None, None, 0, 0, 0, None, 1),
        ("/e", None, None, None, 0, 0, EPOCH - 1, None, 1),
    ]
    assert _rows([installed("p", files=files)], "SELECT * FROM files", schema=36)[0] == (
        "/a",
        "1$x",
        1,
    )


def test_files_of_all_packages_are_in_one_order() -> None:
    """By path, not by package: the tree behind the primary key is then as small as it can be."""
    packages = [
        installed("a", files={"/2": "", "/4": ""}),
        installed("b", files={"/1": "", "/3": ""}),
    ]
    assert _rows(packages, "SELECT path, package_id FROM files ORDER BY rowid") == [
        ("/1", 2),
        ("/2", 1),
        ("/3", 2),
        ("/4", 1),
    ]


def test_paths_that_are_not_utf_8_keep_their_bytes() -> None:
    """The bytes that %ff stands for are stored, as text."""
    rows = _rows(
        [installed("p", files={"/%ff%c3%a9": ""})],
        "SELECT typeof(path), CAST(path AS BLOB) FROM files",
    )
    assert rows == [("text", b"/\xff\xc3\xa9")]


def test_shared_directory_has_the_attributes_of_the_package_installed_first() -> None:
    """INSERT OR IGNORE in pkgdb_register_pkg; dependencies are installed first."""
    packages = [
        installed("a", deps={"z": {"origin": "o"}}, directories={"/d": {"perm": "0711"}}),
        installed("z", directories={"/d": {"perm": "0700", "uname": "u"}, "/e": "y"}),
    ]
    assert _rows(packages, "SELECT * FROM directories") == [
        (1, "/d", "u", None, 0o700, 0),
        (2, "/e", None, None, 0, 0),
    ]
    assert _rows(packages, "SELECT * FROM pkg_directories") == [(1, 1, 1), (2, 1, 1), (2, 2, 1)]


def test_order_of_installation_survives_cycles_and_missing_dependencies() -> None:
    """Nobody can install a cycle; a database that has one is built all the same."""
    keys: dict[str, dict[str, Any]] = {
        "a": {"deps": {"b": {"origin": "o"}, "gone": {"origin": "o"}}},
        "b": {"deps": {"a": {"origin": "o"}, "b": {"origin": "o"}}},
        "c": {"deps": {"b": {"origin": "o"}}},
    }
    packages = [
        installed(n, directories={"/d": {"perm": f"070{i}"}}, **k)
        for i, (n, k) in enumerate(keys.items(), 1)
    ]
    assert _rows(packages, "SELECT perm FROM directories") == [(0o701,)]


def test_scripts_are_numbered_by_kind_and_kept_once() -> None:
    """0, 1, 2, 3, 6 and 7; one text, one row; nothing is trimmed."""
    packages = [
        installed("a", scripts={"deinstall": " x\n", "pre-install": "y", "install": ""}),
        installed("b", scripts={"post-install": "y", "post-deinstall": "y"}),
    ]
    assert _rows(packages, "SELECT * FROM script") == [(1, ""), (2, " x\n"), (3, "y")]
    assert _rows(packages, "SELECT package_id, type, script_id FROM pkg_script") == [
        (1, 0, 3),
        (1, 6, 1),
        (1, 7, 2),
        (2, 1, 3),
        (2, 3, 3),
    ]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_lua_scripts_run_in_the_order_of_the_manifest(schema: int) -> None:
    """Nobody asks in an ORDER BY: up to 38 pkg gets them by id, later by row; both must be right."""
    packages = [
        installed("a", lua_scripts={"post-install": ["z", "m"], "pre-install": ["q"]}),
        installed("b", lua_scripts={"post-install": ["y", "b"]}),
    ]
    query = (
        "SELECT lua_script, type FROM lua_script JOIN pkg_lua_script USING (lua_script_id) "
        "WHERE package_id = "
    )
    assert _rows(packages, query + "1", schema=schema) == [("q", 0), ("z", 1), ("m", 1)]
    assert _rows(packages, query + "2", schema=schema) == [("y", 1), ("b", 1)]


def test_annotations_share_one_table_and_the_manifests_own_win() -> None:
    """pkg_kv_add ignores a key that is there already."""
    package = dataclasses.replace(
        installed("p", annotations={"k": "v", "v": "k", "repository": "mine"}), repository="theirs"
    )
    query = (
        "SELECT t.annotation, v.annotation FROM pkg_annotation "
        "JOIN annotation t ON tag_id = t.annotation_id "
        "JOIN annotation v ON value_id = v.annotation_id"
    )
    assert sorted(_rows([package], query)) == [
        ("k", "v"),
        ("repo_type", "binary"),
        ("repository", "mine"),
        ("v", "k"),
    ]
    assert _rows([package], "SELECT count(*) FROM annotation") == [(6,)]
    assert _rows([installed("p")], "SELECT count(*) FROM annotation") == [(0,)]


def test_flavor_is_seen_by_the_view() -> None:
    """Since 2.8 pkg joins `flavors` whenever it lists packages."""
    packages = [installed("p", annotations={"flavor": "py311", "x": "flavor"}), installed("q")]
    assert _rows(packages, "SELECT * FROM flavors") == [(1, "py311")]


def test_conflicts_name_only_what_is_installed() -> None:
    """The column holds the other package's id and cannot be NULL."""
    packages = [installed("a", conflicts=["b", "absent"]), installed("b")]
    assert _rows(packages, "SELECT * FROM pkg_conflicts") == [(1, 2)]


def test_ignored_libraries_leave_nothing_in_a_schema_without_them() -> None:
    """No orphan in `shlibs`: pkg before 2.6 could not delete a package with one."""
    packages = [installed("p", shlibs_required=["a"], shlibs_required_ignore=["b"])]
    assert _rows(packages, "SELECT name FROM shlibs", schema=37) == [("a",)]
    assert _rows(packages, "SELECT name FROM shlibs", schema=38) == [("a",), ("b",)]


def test_provides_are_there_once() -> None:
    """A real pkg adds a row for each registration and never cleans up."""
    packages = [installed("a", provides=["x"], requires=["r"]), installed("b", provides=["x"])]
    assert _rows(packages, "SELECT * FROM provides") == [(1, "x")]
    assert _rows(packages, "SELECT * FROM pkg_provides") == [(1, 1), (2, 1)]
    assert _rows(packages, "SELECT * FROM pkg_requires") == [(1, 1)]


def test_config_files_hold_their_content() -> None:
    """NULL where the payload has no regular file of the name; empty is empty."""
    package = installed("p", config=["/c", "/b", "/a"], contents=(("/a", ""), ("/b", "é\n")))
    assert _rows([package], "SELECT * FROM config_files") == [
        ("/a", "", 1),
        ("/b", "é\n", 1),
        ("/c", None, 1),
    ]


def test_options() -> None:
    """Values are text, switches are on and off."""
    packages = [installed("p", options={"B": True, "A": "x y", "C": False})]
    query = "SELECT option, value FROM pkg_option JOIN option USING (option_id)"
    assert _rows(packages, query) == [("A", "x y"), ("B", "on"), ("C", "off")]
    tables = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name LIKE '%option%'"
    assert _rows(packages, tables) == [(2,)]
    assert _rows(packages, tables, schema=39) == [(5,)]


def test_sql_in_a_name_is_only_a_name() -> None:
    """Values are bound, never pasted."""
    evil = "'; DROP TABLE packages; --\""
    packages = [installed("p", comment=evil, categories=[evil], files={f"/{evil}": ""})]
    assert _rows(packages, "SELECT comment FROM packages") == [(evil,)]
    assert _rows(packages, "SELECT path FROM files") == [(f"/{evil}",)]


# ---------------------------------------------------------------- refusals


def _refused(packages: Iterable[InstalledPackage], match: str, *, context: str = "") -> None:
    with pytest.raises(DatabaseError, match=match) as caught:
        build_localdb(packages, schema=42, source_date_epoch=EPOCH)
    assert caught.value.context == context


def test_package_twice() -> None:
    _refused([installed("p"), installed("p", version="2")], "package 'p' twice: 1.0 and 2")


def test_path_twice() -> None:
    """A conflict of files; which of them would be on disk is nobody's guess."""
    _refused(
        [installed("a", files={"/x": ""}), installed("b", files={"/x": ""})],
        "path '/x' twice: a and b",
    )


def test_config_file_twice() -> None:
    """Another package already owns it, says pkg."""
    packages = [installed("a", config=["/x"]), installed("b", config=["/x"])]
    _refused(packages, "config file '/x' twice: a and b")


@pytest.mark.parametrize("paths", [("/c",), ("/b", "/a"), ("/a", "/a")])
def test_content_of_what_is_no_config_file(paths: tuple[str, ...]) -> None:
    """Every content belongs to a config file of the manifest, in order, once."""
    with pytest.raises(DatabaseError, match="want config files of the manifest, sorted") as caught:
        installed("p", config=["/a", "/b"], contents=tuple((path, "") for path in paths))
    assert caught.value.context == "p"


def test_lua_script_twice_in_a_package() -> None:
    """The real pkg fails on its own UNIQUE constraint."""
    _refused(
        [installed("p", lua_scripts={"pre-install": ["x"], "post-install": ["x"]})],
        "lua script 'x' twice",
    )


def test_nul_in_text() -> None:
    package = installed("p")
    broken = dataclasses.replace(
        package, manifest=dataclasses.replace(package.manifest, comment="a\0b")
    )
    _refused([broken], "NUL in 'a.x00b'", context="packages")


def test_text_that_is_not_unicode() -> None:
    """A lone surrogate that stands for no byte."""
    _refused([installed("p", comment="\ud800")], "text is not Unicode")


def test_number_too_large() -> None:
    package = dataclasses.replace(installed("p"), time=1 << 63)
    _refused([package], "more than 63 bits", context="packages")


def test_unknown_schema() -> None:
    for schema in (35, 43, 0):
        with pytest.raises(DatabaseError, match=f"got schema {schema}, want 36 to 42"):
            build_localdb([], schema=schema, source_date_epoch=EPOCH)


def test_config_content_ends_at_the_first_nul() -> None:
    """The real pkg takes it for a C string."""
    assert config_content(b"a\0b") == "a"
    assert config_content(b"\0") == ""
    assert config_content(b"\xff") == "\udcff"
