"""The declaration: every check, every key, and the schema that editors use."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import msgspec
import pytest

from pipeline import declaration as module
from pipeline.declaration.patterns import pattern_regex
from pipeline.declaration.reading import json_schema, parse_declaration
from pipeline.declaration.tables import (
    DEFAULT_LEVELS,
    MTREE_PLACES,
    Compression,
    Declaration,
    Repository,
    applies,
)
from pipeline.errors import DeclarationError
from pipeline.formats.algorithm import LEVELS, Algorithm

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = ROOT / "docs" / "images.schema.json"
DECLARATIONS = sorted(ROOT.glob("images*.toml"))

MINIMAL = """
format = 1
[repositories.base]
url = "https://example.org/${ABI}"
fingerprints = "keys"
[releases."15.0"]
architectures = ["amd64"]
repositories = ["base"]
[images.static]
"""


def parse(text: str = "", base: str = MINIMAL) -> Declaration:
    return parse_declaration((base + text).encode())


def refusal(text: str = "", base: str = MINIMAL) -> str:
    with pytest.raises(DeclarationError) as caught:
        parse(text, base)
    return str(caught.value)


# ---------------------------------------------------------------- values


def test_a_minimal_declaration() -> None:
    """Everything else has its default."""
    d = parse()
    assert (d.output, d.name, d.compression.algorithm) == (
        "build/oci",
        "freebsd-${IMAGE}:${RELEASE}",
        "zstd",
    )
    assert d.images["static"].layering == "single"
    assert d.reference("static", "15.0") == "freebsd-static:15.0"


@pytest.mark.parametrize("path", DECLARATIONS, ids=lambda path: path.name)
def test_the_declarations_of_this_project_are_valid(path: Path) -> None:
    """Those in the root."""
    assert parse_declaration(path.read_bytes()).images


def test_levels_have_defaults_within_bounds() -> None:
    """By algorithm."""
    for algorithm, level in DEFAULT_LEVELS.items():
        low, high = LEVELS[Algorithm(algorithm)]
        assert low <= level <= high
        assert Compression(algorithm=algorithm).effective_level == level  # type: ignore[arg-type]
    assert Compression(level=3).effective_level == 3


def test_images_are_ordered_parents_first() -> None:
    """Else as in the file; a release may take some only, and gets their ancestors."""
    images = '[images.c]\nparent = "b"\n[images.a]\n[images.b]\nparent = "static"\n'
    d = parse(images)
    assert d.image_order("15.0") == ("static", "b", "c", "a")
    some = MINIMAL.replace('["base"]\n[images', '["base"]\nimages = ["b"]\n[images')
    assert parse(images, some).image_order("15.0") == ("static", "b")


def test_files_may_belong_to_some_releases() -> None:
    """All where absent."""
    files = """
[[images.static.files]]
path = "/a"
text = ""
[[images.static.files]]
path = "/b"
link = "a"
releases = ["15.0"]
[[images.static.files]]
path = "/c"
directory = true
releases = []
"""
    a, b, c = parse(files).images["static"].files
    assert [applies(f, "15.0") for f in (a, b, c)] == [True, True, False]
    assert [applies(f, "14.3") for f in (a, b, c)] == [True, False, False]


def test_every_tree_of_directories_has_its_place() -> None:
    """The choices of `mtree` are the keys of MTREE_PLACES."""
    choices = json_schema()["$defs"]["Image"]["properties"]["mtree"]["items"]["enum"]
    assert sorted(choices) == sorted(MTREE_PLACES)


# ---------------------------------------------------------------- unknown keys


@pytest.mark.parametrize(
    ("text", "base", "message"),
    [
        ("", "formt = 1\n" + MINIMAL, "formt: unknown key; did you mean 'format'?"),
        ("pakages = []", MINIMAL, "images.static.pakages: unknown key; did you mean 'packages'?"),
        (
            '[[images.static.files]]\npth = "/a"\n',
            MINIMAL,
            "images.static.files[0].pth: unknown key; did you mean 'path'?",
        ),
        (
            "",
            MINIMAL.replace("fingerprints", "fingerprint"),
            "repositories.base.fingerprint: unknown key; did you mean 'fingerprints'?",
        ),
        (
            "",
            MINIMAL.replace("architectures", "arches"),
            "releases.15.0.arches: unknown key; did you mean 'architectures'?",
        ),
        (
            "[compression]\nlvl = 1\n",
            MINIMAL,
            "compression.lvl: unknown key; did you mean 'level'?",
        ),
        (
            "[[images.static.accounts]]\nxyzzy = 1\n",
            MINIMAL,
            (
                "images.static.accounts[0].xyzzy: unknown key;"
                " known: name, uid, gid, groups, comment, home, shell"
            ),
        ),
        (
            '[[images.static.skip]]\nreasons = "x"\n',
            MINIMAL,
            "images.static.skip[0].reasons: unknown key; did you mean 'reason'?",
        ),
    ],
)
def test_an_unknown_key_names_the_nearest(text: str, base: str, message: str) -> None:
    """At any depth."""
    assert refusal(text, base) == message


def test_free_tables_take_any_key() -> None:
    """Labels, annotations and environment are the user's."""
    d = parse('env = { ANY_THING = "1" }\nlabels = { "a.b" = "c" }\nannotations = { x = "y" }\n')
    assert d.images["static"].env == {"ANY_THING": "1"}


# ---------------------------------------------------------------- wrong types


@pytest.mark.parametrize(
    ("text", "base", "message"),
    [
        ("", "", "object missing required field `format`"),
        ("", MINIMAL.replace("format = 1", 'format = "1"'), "format: expected `int`, got `str`"),
        ("", MINIMAL.replace('["amd64"]', "[]"), "releases.15.0.architectures: expected `array`"),
        ("", MINIMAL.replace('"amd64"', '"arm64"'), "releases.15.0.architectures[0]: invalid enum"),
        ("", MINIMAL.replace('"15.0"', '"15"'), "releases: expected `str` matching regex"),
        ("", MINIMAL.replace("static", "Static"), "images: expected `str` matching regex"),
        ("", MINIMAL.replace('"15.0"', '"15.0\\n"'), "releases: expected `str` matching regex"),
        ("packages = [1]", MINIMAL, "images.static.packages[0]: expected `str`, got `int`"),
        ("layer_budget = 1", MINIMAL, "images.static.layer_budget: expected `int` >= 2"),
        ("effects = ['x']", MINIMAL, "images.static.effects[0]: invalid enum value 'x'"),
        ("exposed_ports = ['x']", MINIMAL, "images.static.exposed_ports[0]: expected `str`"),
        ("env = { A = 1 }", MINIMAL, "images.static.env.A: expected `str`, got `int`"),
        ("layering = 'x'", MINIMAL, "images.static.layering: invalid enum value 'x'"),
        (
            "[[images.static.accounts]]\nname = 'x'\nuid = -1\n",
            MINIMAL,
            "images.static.accounts[0].uid: expected `int` >= 0",
        ),
        (
            "[[images.static.files]]\npath = '/a'\ntext = ''\nmode = '9'\n",
            MINIMAL,
            "images.static.files[0].mode: expected `str` matching regex",
        ),
    ],
)
def test_a_wrong_type_has_its_place(text: str, base: str, message: str) -> None:
    """As msgspec says it, with the path inside the document."""
    assert refusal(text, base).startswith(message)


def test_what_is_no_toml_is_refused() -> None:
    """Nor UTF-8."""
    assert refusal(base="format = ").startswith("not TOML: ")
    with pytest.raises(DeclarationError, match=r"^not UTF-8 at byte 1$"):
        parse_declaration(b"#\xff")


# ---------------------------------------------------------------- one check each


def _repository(*lines: str) -> str:
    return MINIMAL.replace('fingerprints = "keys"', "\n".join(lines))


def _file(*lines: str) -> str:
    return "\n".join(("[[images.static.files]]", *lines))


CHECKS = {
    "format": (
        "",
        MINIMAL.replace("format = 1", "format = 2"),
        "format: got 2, want 1, the format this version builds",
    ),
    "level too high": (
        "[compression]\nlevel = 20\n",
        MINIMAL,
        "compression.level: got 20, want 1 to 19",
    ),
    "level of gzip": (
        "[compression]\nalgorithm = 'gzip'\nlevel = 13\n",
        MINIMAL,
        "compression.level: got 13, want 1 to 12",
    ),
    "level of none": (
        "[compression]\nalgorithm = 'none'\nlevel = 1\n",
        MINIMAL,
        "compression.level: got 1, want 0 to 0",
    ),
    "output absolute": (
        "",
        "output = '/tmp'\n" + MINIMAL,
        "output: got '/tmp', want a path below the declaration's directory",
    ),
    "output climbs": ("", "output = 'a/../../b'\n" + MINIMAL, "output: got 'a/../../b', want"),
    "output is the directory": ("", "output = './.'\n" + MINIMAL, "output: got './.', want a path"),
    "output empty": ("", "output = ''\n" + MINIMAL, "output: got '', want a path"),
    "name without image": (
        "",
        "name = 'x:${RELEASE}'\n" + MINIMAL,
        "name: got 'x:${RELEASE}', want a name with ${IMAGE}, a colon and ${RELEASE}",
    ),
    "name without release": ("", "name = '${IMAGE}:x'\n" + MINIMAL, "name: got '${IMAGE}:x'"),
    "name in upper case": ("", "name = 'A${IMAGE}:${RELEASE}'\n" + MINIMAL, "name: got 'A${IM"),
    "no fingerprints": (
        "",
        _repository(""),
        "repositories.base.fingerprints: missing, for signature_type fingerprints",
    ),
    "no pubkey": (
        "",
        _repository("signature_type = 'pubkey'"),
        "repositories.base.pubkey: missing, for signature_type pubkey",
    ),
    "unsigned without saying so": (
        "",
        _repository("signature_type = 'none'"),
        "repositories.base: signature_type none wants allow_unsigned = true as well",
    ),
    "another protocol": (
        "",
        MINIMAL.replace("https:", "ftp:"),
        "repositories.base.url: got 'ftp://example.org/${ABI}', want https, http or file",
    ),
    "unknown repository": (
        "",
        MINIMAL.replace('["base"]', '["bass"]'),
        "releases.15.0.repositories: no repository is called 'bass'; did you mean 'base'?",
    ),
    "repository twice": (
        "",
        MINIMAL.replace('["base"]', '["base", "base"]'),
        "releases.15.0.repositories: 'base' twice",
    ),
    "architecture twice": (
        "",
        MINIMAL.replace('["amd64"]', '["amd64", "amd64"]'),
        "releases.15.0.architectures: 'amd64' twice",
    ),
    "unknown image of a release": (
        "",
        MINIMAL.replace('["base"]\n[images', '["base"]\nimages = ["statik"]\n[images'),
        "releases.15.0.images: no image is called 'statik'; did you mean 'static'?",
    ),
    "unknown parent": (
        "parent = 'xyzzy'",
        MINIMAL,
        "images.static.parent: no image is called 'xyzzy'",
    ),
    "own parent": (
        "parent = 'static'",
        MINIMAL,
        "images.static.parent: 'static' is its own ancestor",
    ),
    "cycle": (
        "parent = 'b'\n[images.b]\nparent = 'static'\n",
        MINIMAL,
        "images.static.parent: 'static' is its own ancestor",
    ),
    "package twice": ("packages = ['a', 'a']", MINIMAL, "images.static.packages: 'a' twice"),
    "mtree twice": ("mtree = ['var', 'var']", MINIMAL, "images.static.mtree: 'var' twice"),
    "account of nothing": (
        "[[images.static.accounts]]\nname = 'x'\n",
        MINIMAL,
        "images.static.accounts[0]: want a uid, a gid or both",
    ),
    "skip of nothing": (
        "[[images.static.skip]]\nreason = 'x'\n",
        MINIMAL,
        "images.static.skip[0]: want either digest or trigger",
    ),
    "skip of both": (
        f"[[images.static.skip]]\nreason = 'x'\ntrigger = 'y'\ndigest = 'sha256:{'0' * 64}'\n",
        MINIMAL,
        "images.static.skip[0]: want either digest or trigger",
    ),
    "file of an unknown release": (
        _file("path = '/a'", "text = ''", "releases = ['15.1']"),
        MINIMAL,
        "images.static.files[0].releases: no release is called '15.1'; did you mean '15.0'?",
    ),
    "file of nothing": (
        _file("owner = 'root'"),
        MINIMAL,
        "images.static.files[0]: want package and paths, or path and one of text, link, directory",
    ),
    "file of two kinds": (
        _file("path = '/a'", "text = ''", "link = 'b'"),
        MINIMAL,
        "images.static.files[0]: want package and paths, or path and one of",
    ),
    "file without kind": (_file("path = '/a'"), MINIMAL, "images.static.files[0]: want package"),
    "paths without package": (
        _file("paths = ['/a']"),
        MINIMAL,
        "images.static.files[0]: want package and paths",
    ),
    "to without package": (
        _file("path = '/a'", "text = ''", "to = '/b'"),
        MINIMAL,
        "images.static.files[0]: want package and paths",
    ),
    "package without paths": (
        _file("package = 'p'"),
        MINIMAL,
        "images.static.files[0]: package goes with paths (and to), nothing else",
    ),
    "package with text": (
        _file("package = 'p'", "paths = ['/a']", "text = ''"),
        MINIMAL,
        "images.static.files[0]: package goes with paths (and to), nothing else",
    ),
    "package with path": (
        _file("package = 'p'", "paths = ['/a']", "path = '/b'"),
        MINIMAL,
        "images.static.files[0]: package goes with paths (and to), nothing else",
    ),
    "name of a package": (
        _file("package = '-p'", "paths = ['/a']"),
        MINIMAL,
        "images.static.files[0]: got package name '-p'",
    ),
    "relative path": (
        _file("path = 'a'", "text = ''"),
        MINIMAL,
        "images.static.files[0]: got path 'a', want an absolute path below /",
    ),
    "relative pattern": (
        _file("package = 'p'", "paths = ['a/*']"),
        MINIMAL,
        "images.static.files[0]: got path 'a/*', want an absolute path below /",
    ),
    "to of a pattern": (
        _file("package = 'p'", "paths = ['/a/*']", "to = '/b'"),
        MINIMAL,
        "images.static.files[0].to: goes with exactly one path that is no pattern",
    ),
    "to of two paths": (
        _file("package = 'p'", "paths = ['/a', '/b']", "to = '/c'"),
        MINIMAL,
        "images.static.files[0].to: goes with exactly one path that is no pattern",
    ),
    "relative to": (
        _file("package = 'p'", "paths = ['/a']", "to = 'b'"),
        MINIMAL,
        "images.static.files[0]: got path 'b', want an absolute path below /",
    ),
}


@pytest.mark.parametrize("case", CHECKS)
def test_each_check_has_its_message(case: str) -> None:
    """With the key at fault."""
    text, base, message = CHECKS[case]
    assert refusal(text, base).startswith(message)


@pytest.mark.parametrize(
    "url", ["https://a/b", "http://a", "pkg+https://a", "pkg+http://a", "file:a", "file:///a"]
)
def test_protocols_of_repositories(url: str) -> None:
    """As pkg spells them, and `file:` relative to the declaration."""
    d = parse(base=MINIMAL.replace("https://example.org/${ABI}", url))
    assert d.repositories["base"].url == url


@pytest.mark.parametrize(
    ("url", "has_account"),
    [
        ("https://me:secret@example.org/a", True),
        ("pkg+https://me@example.org", True),
        ("https://example.org/a@b", False),
        ("https://example.org?a@b", False),
        ("file:a@b", False),
        ("https://[broken", False),
    ],
)
def test_accounts_in_urls(url: str, has_account: bool) -> None:
    """RFC 3986, 3.2: user information stands before the host."""
    assert Repository(url=url).has_account is has_account


def test_signature_types() -> None:
    """Each with what it needs."""
    parse(base=_repository("signature_type = 'pubkey'", "pubkey = 'k'"))
    parse(base=_repository("signature_type = 'none'", "allow_unsigned = true"))


def test_scripts_and_triggers_can_be_passed_over() -> None:
    """By the digest of a script's text or the path of a trigger, with a reason."""
    text = f"""
[[images.static.skip]]
digest = "sha256:{"0" * 64}"
reason = "no fonts"
[[images.static.skip]]
trigger = "/usr/share/pkg/triggers/x.ucl"
reason = "no mime types"
"""
    assert [skip.reason for skip in parse(text).images["static"].skip] == [
        "no fonts",
        "no mime types",
    ]


def test_a_bracket_is_no_pattern() -> None:
    """/bin/[ is a file of FreeBSD-runtime, and may be taken elsewhere."""
    text = _file("package = 'FreeBSD-runtime'", "paths = ['/bin/[']", "to = '/bin/test'")
    assert parse(text).images["static"].files[0].to == "/bin/test"
    assert pattern_regex("/bin/[").fullmatch("/bin/[")


@pytest.mark.parametrize(
    ("pattern", "matches", "others"),
    [
        ("/a", ["/a"], ["/a/b", "/ab", "/A"]),
        ("/a/*", ["/a/b", "/a/.b"], ["/a", "/a/b/c"]),
        ("/a/*.pem", ["/a/x.pem", "/a/.pem"], ["/a/xpem", "/a/b/x.pem"]),
        ("/a/?", ["/a/b", "/a/é"], ["/a/", "/a/bc"]),
        ("/a/**", ["/a/b", "/a/b/c"], ["/a", "/ab"]),
        ("/**/x", ["/x", "/a/x", "/a/b/x"], ["/ax", "/a/xx"]),
        ("/a/**/x", ["/a/b/x"], ["/a/bx"]),
        ("/a/**b", ["/a/b", "/a/x/yb"], ["/a/b/c"]),
        ("/a/**/x", ["/a/x", "/a/b/x"], ["/ax"]),
        ("/a**", ["/a", "/ab/c"], ["/b"]),
        ("/a.b", ["/a.b"], ["/axb"]),
        ("/a\nb/*", ["/a\nb/c\nd"], ["/a"]),
    ],
)
def test_patterns_of_paths(pattern: str, matches: Any, others: Any) -> None:
    """`*` and `?` stay within a component, `**` crosses them."""
    regex = pattern_regex(pattern)
    assert [p for p in (*matches, *others) if regex.fullmatch(p)] == matches


# ---------------------------------------------------------------- the schema


def test_the_published_schema_is_that_of_the_types() -> None:
    """Regenerate as the message says."""
    want = json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
    assert SCHEMA.read_text("utf-8") == want, (
        'python -c "import json, pipeline.declaration.reading as d;'
        ' print(json.dumps(d.json_schema(), indent=2, ensure_ascii=False))"'
        " > docs/images.schema.json"
    )


def _validator() -> Any:
    schema = json.loads(SCHEMA.read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("path", DECLARATIONS, ids=lambda path: path.name)
def test_the_schema_accepts_the_declarations_of_this_project(path: Path) -> None:
    """What we can read, an editor does not underline."""
    _validator().validate(tomllib.loads(path.read_text("utf-8")))


@pytest.mark.parametrize(
    "place",
    [
        (),
        ("images", "static"),
        ("releases", "15.0"),
        ("repositories", "base"),
        ("compression",),
        ("images", "static", "files", 0),
        ("images", "static", "accounts", 0),
        ("images", "static", "skip", 0),
    ],
    ids=str,
)
def test_the_schema_refuses_unknown_keys(place: Any) -> None:
    """In every table."""
    text = (
        MINIMAL
        + _file("path = '/a'", "text = ''")
        + "\n[[images.static.accounts]]\nname = 'a'\nuid = 1\n"
        + "[[images.static.skip]]\ntrigger = 'x'\nreason = 'y'\n[compression]\n"
    )
    document = tomllib.loads(text)
    _validator().validate(document)
    table: Any = document
    for key in place:
        table = table[key]
    table["no_such_key"] = 1
    with pytest.raises(jsonschema.ValidationError, match="no_such_key"):
        _validator().validate(document)


def test_every_key_of_the_schema_is_explained() -> None:
    """By its own description, or that of what it holds; these few explain themselves."""
    obvious = {
        *("compression", "repositories", "releases", "images", "files", "accounts"),
        *("owner", "group", "mode", "comment", "home", "shell", "cmd", "entrypoint", "user"),
        *("registry", "signing", "gpg_home", "command_reads"),
        *("working_dir", "exposed_ports", "volumes", "stop_signal", "title", "description"),
        *("labels", "name"),
    }
    for table, definition in json_schema()["$defs"].items():
        for key, value in definition["properties"].items():
            assert "description" in json.dumps(value) or key in obvious, f"{table}.{key}"


def test_values_cannot_be_changed() -> None:
    """A declaration that exists has been checked."""
    d = parse()
    with pytest.raises(AttributeError):
        d.output = "elsewhere"  # type: ignore[misc]
    tables = [v for v in vars(module).values() if isinstance(v, type) and v is not msgspec.Struct]
    assert all(v.__struct_config__.frozen for v in tables if issubclass(v, msgspec.Struct))
