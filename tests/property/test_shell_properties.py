"""Properties of script recognition: by generated scripts, and against a real shell.

The real shell runs only what the recogniser has accepted, without PATH, in an empty directory;
every command of the vocabulary is a function there that writes down its arguments.
"""

from __future__ import annotations

import getopt
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from fixtures.scripts.texts import package, read_texts
from pipeline.errors import ScriptError
from pipeline.pkg.effects import (
    AddGroup,
    AddMember,
    AddUser,
    ByteOrder,
    CapMkdb,
    ChangeMode,
    CopySample,
    Effect,
    IndexInfo,
    KldXref,
    Ldconfig,
    MakeDirectory,
    PwdMkdb,
    ServicesMkdb,
)
from pipeline.pkg.scripts import recognise

pytestmark = pytest.mark.property

BLOCKS = {
    name: script
    for name, script in read_texts("known").items()
    if script.language == "sh" and script.kind != "install" and script.name != "talk"
}
COMPARED = [name for name in BLOCKS if not name.startswith(("certctl", "caroot", "shell"))]
NEEDS_SHELL = pytest.mark.skipif(shutil.which("sh") is None, reason="no POSIX shell")
QUICK = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.filter_too_much]
)


def effects(text: str, kind: str = "post-install") -> tuple[Effect, ...]:
    (script,) = recognise(package((kind, text)), skip={})
    return script.effects


# ---------------------------------------------------------------- concatenation, white space


@QUICK
@given(
    st.lists(st.sampled_from(sorted(BLOCKS)), max_size=6), st.sampled_from(["", "\n", "\n# x\n"])
)
def test_concatenation_gives_the_concatenated_effects(names: list[str], between: str) -> None:
    text = between.join(BLOCKS[name].text for name in names)
    assert effects(text) == tuple(e for name in names for e in effects(BLOCKS[name].text))


@QUICK
@given(st.sampled_from(sorted(BLOCKS)), st.data())
def test_white_space_never_changes_the_effects(name: str, data: st.DataObject) -> None:
    """Blanks outside quotes become other blanks, or a continued line; line ends get comments."""
    text = BLOCKS[name].text
    blanks = st.sampled_from([" ", "  ", "\t", " \t ", " \\\n ", " \\\n\t"])
    ends = st.sampled_from(["\n", " \n", "\n\n", " # x; y & 'z\n", "\t#\n\t"])
    lines = []
    for line in text.split("\n"):
        quoted = re.split(r"(\"[^\"]*\"|'[^']*')", line)
        lines.append(
            "".join(
                part if i % 2 else re.sub(r"(?<!\\) +", lambda _: data.draw(blanks), part)
                for i, part in enumerate(quoted)
            )
        )
    joined = lines[0]
    for line in lines[1:]:
        joined += ("\n" if joined.endswith("\\") else data.draw(ends)) + line
    assert effects(joined) == effects(text)


@given(st.text(max_size=200))
def test_any_text_is_understood_or_refused(text: str) -> None:
    assume("\0" not in text)
    message = ""
    try:
        effects(text)
    except ScriptError as e:
        message = str(e)
    assert all(" " <= character <= "~" or character == "…" for character in message)


# ---------------------------------------------------------------- against a real shell

STUBS = """
note() { { printf '%s\\000' "$@"; printf '\\001'; } >> ../notes; }
pw() {
    name=$1
    [ "$1" = -R ] && name=$3
    case $name in *show) return 1;; esac
    note pw "$@"
}
grep() { return 1; }
"""
NOTED = (
    "cap_mkdb", "chmod", "cp", "indexinfo", "install", "kldxref", "ldconfig", "pwd_mkdb", "service",
    "services_mkdb",
)  # fmt: skip


PATH_RE = re.compile(rf"(?<![\w./])/(?:usr/)?s?bin/(?=({'|'.join((*NOTED, 'pw', 'grep'))})\b)")


def bare(text: str) -> str:
    """Call programs by their names, which functions can have."""
    return PATH_RE.sub("", text)


def run(text: str) -> list[list[str]] | None:
    """Run a script in a real shell with stubs; return what they noted, None if it failed."""
    stubs = STUBS + "".join(f'{name}() {{ note {name} "$@"; }}\n' for name in NOTED)
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder, "notes")
        notes.touch()
        Path(folder, "empty").mkdir()
        result = subprocess.run(
            [shutil.which("sh") or "sh", "-c", f"{stubs}set -- quill-1.0_1\n{text}"],
            env={
                "PATH": "/nonexistent",
                "PKG_NAME": "quill",
                "PKG_PREFIX": "/usr/local",
                "PKG_ROOTDIR": "/@root",
            },
            cwd=Path(folder, "empty"),
            capture_output=True,
            check=False,
        )
        assert list(Path(folder, "empty").iterdir()) == []
        noted = notes.read_text(encoding="utf-8").split("\x01")[:-1]
    return [note.split("\0")[:-1] for note in noted] if result.returncode == 0 else None


def path(text: str) -> str:
    return re.sub("/+", "/", text.removeprefix("/@root")).rstrip("/") or "/"


def order(options: dict[str, str]) -> ByteOrder:
    if "-l" in options:
        return ByteOrder.LITTLE
    return ByteOrder.BIG if "-b" in options else ByteOrder.NATIVE


def meant(argv: list[str]) -> list[Effect]:  # noqa: PLR0911
    """Say what a noted command means; a second, simpler reading of the same manual pages."""
    name, *rest = argv
    if name == "pw":
        rest = rest[2:] if rest[0] == "-R" else rest
        command, *rest = rest
        pairs, names = getopt.gnu_getopt(rest, "n:g:u:L:G:c:d:s:m:")
        options = dict(pairs)
        account = [*names, *([options["-n"]] if "-n" in options else [])][0]
        if command == "groupadd":
            return [AddGroup(name=account, gid=int(options["-g"]))]
        if command == "groupmod":
            return [AddMember(group=account, user=options["-m"])]
        return [
            AddUser(
                name=account,
                uid=int(options["-u"]),
                gid=int(options["-g"]),
                login_class=options.get("-L", ""),
                groups=tuple(options["-G"].split(",")) if "-G" in options else (),
                comment=options["-c"],
                home=path(options["-d"]),
                shell=path(options["-s"]),
            )
        ]
    letters = "dg:o:m:N:" if name == "install" else "ipqlbmd:o:"
    pairs, operands = getopt.getopt(rest, letters)
    options = dict(pairs)
    match name:
        case "pwd_mkdb":
            return [PwdMkdb()]
        case "services_mkdb":
            source = path(operands[0])
            argument = "directory" if source == "/" else source
            return [ServicesMkdb(argument=argument, byte_order=order(options))]
        case "cap_mkdb":
            return [CapMkdb(path=path(operands[0]), byte_order=order(options))]
        case "chmod":
            return [ChangeMode(path=path(operands[1]), mode=int(operands[0], 8))]
        case "cp":
            return [CopySample(source=path(operands[0]), target=path(operands[1]))]
        case "indexinfo":
            return [IndexInfo(directory=path(operands[0]))]
        case "kldxref":
            return [KldXref(directory=path(operands[0]))]
        case "install":
            return [
                MakeDirectory(
                    path=path(operand),
                    owner=options["-o"],
                    group=options["-g"],
                    mode=int(options.get("-m", "755"), 8),
                )
                for operand in operands
            ]
        case _:
            return [Ldconfig()]


@NEEDS_SHELL
@pytest.mark.parametrize("name", COMPARED)
def test_known_scripts_do_in_a_shell_what_is_said(name: str) -> None:
    noted = run(bare(BLOCKS[name].text))
    assert noted is not None
    assert tuple(e for argv in noted for e in meant(argv)) == effects(BLOCKS[name].text)


PIECES = st.sampled_from(
    [
        " ", "\n", ";", "&&", "||", "|", "&", "(", ")", "!", "'", '"', "\\", "$", "#", "*", ">", "<", "-", "/",
        "0", "7", "x", "fi", "else", "if", "true", "exit 0", "${PW}", "$(x)", "`x`", ">/dev/null", "set -e",
        "rm -rf /", "-R", "..", "\u0430", "{", "}", "\\\n", " -x ", "${file%/*}", "=", ";;", "esac",
    ]
)  # fmt: skip


@NEEDS_SHELL
@QUICK
@given(st.sampled_from(COMPARED), st.data())
def test_mutated_script_is_refused_or_does_in_a_shell_what_is_said(
    name: str, data: st.DataObject
) -> None:
    """Characters, words and lines are inserted, removed, repeated, swapped."""
    tokens = re.findall(r"\s+|\w+|.", bare(BLOCKS[name].text), re.DOTALL)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(tokens) - 1))
        match data.draw(st.sampled_from(["insert", "remove", "repeat", "swap", "replace"])):
            case "insert":
                tokens.insert(at, data.draw(PIECES))
            case "remove":
                tokens[at] = ""
            case "repeat":
                tokens.insert(at, tokens[at])
            case "swap":
                tokens[at], tokens[at - 1] = tokens[at - 1], tokens[at]
            case _:
                tokens[at] = data.draw(PIECES)
    text = "".join(tokens)
    try:
        said = effects(text)
    except ScriptError:
        return
    noted = run(text)
    assert noted is not None
    assert tuple(e for argv in noted for e in meant(argv)) == said


NAMES = st.sampled_from(["a", "b", "c"])
QUOTED = st.lists(
    st.sampled_from(["t", "$a", "${b}", " ", '\\"', "\\$", "\\x", "'", "*", "${c%/*}", "${a:-d e}", "${c:+u v}"]),
    max_size=3,
).map(lambda parts: f'"{"".join(parts)}"')  # fmt: skip
PIECE = st.one_of(
    st.sampled_from(["x", "y/z", "/q", ".sample", "-n", "=", "/", "'s s'", "'$a'", "''", "'*'", "\\ ", "\\$", "#h"]),
    st.sampled_from(["$a", "${b}", "$c", "$1", "${2}", "$#", "$?", "${a%/*}", "${b%.sample}", "$PKG_PREFIX"]),
    st.sampled_from(["${c:-w}", "${c:-'p q'}", "${a:+\\ }", "${a:+r s}", "${PKG_ROOTDIR}", "${b:+${a:-''}}", '"\\\n"']),
    QUOTED,
)  # fmt: skip
WORD = st.lists(PIECE, min_size=1, max_size=3).map("".join)
TEST = st.one_of(
    st.sampled_from(["true", "false", ":", "test $# -eq 2", "[ ! -n '' ]"]),
    st.builds('[ -{} "{}" ]'.format, st.sampled_from("nz"), st.sampled_from(["$a", "$b", "", "${c%/*}"])),
    st.builds("[ {} {} {} ]".format, WORD, st.sampled_from(["=", "!="]), WORD),
)  # fmt: skip
CONDITION = st.recursive(
    TEST,
    lambda inner: (
        st.builds("{} {} {}".format, inner, st.sampled_from(["&&", "||", "&&\n"]), TEST)
        | st.builds("! {}".format, TEST)
    ),
    max_leaves=3,
)
SIMPLE = st.one_of(
    st.builds("{}={}".format, NAMES, st.one_of(WORD, st.just(""))),
    st.builds("kldxref /p{}{}".format, WORD, st.sampled_from(["", " >/dev/null 2>&1", " # x"])),
    st.builds("set -- {} {}".format, WORD, WORD),
    st.sampled_from(["echo * $a", "exit 0", "set -e", "exit"]),
)
PATTERN = st.sampled_from(["/*", "x*", "*", "*.sample", "y/z|t", "$a", '"$b"', "??", '"*"', "\\*"])


def compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    body = st.lists(inner, min_size=1, max_size=3).map("\n".join)
    clause = st.builds("{}) {}\n;;\n".format, PATTERN, body)
    return st.one_of(
        st.builds("if {}; then\n{}\nfi".format, CONDITION, body),
        st.builds("if {}\nthen {}\nelse {}\nfi".format, CONDITION, body, body),
        st.builds("if {}; then {}\nelif {}; then {}\nfi".format, CONDITION, body, CONDITION, body),
        st.builds("case {} in\n{}esac".format, WORD, st.lists(clause, max_size=3).map("".join)),
        st.builds("{} && {}".format, CONDITION, SIMPLE),
        st.builds("{} || {}".format, CONDITION, SIMPLE),
    )


SCRIPT = st.lists(st.recursive(SIMPLE, compound, max_leaves=8), max_size=6).map("\n".join)


@NEEDS_SHELL
@QUICK
@given(
    SCRIPT, st.sampled_from(["", "/u/v", "x.sample", "'p q'"]), st.sampled_from(["''", "/a/b/c"])
)
def test_generated_script_does_in_a_shell_what_is_said(script: str, a: str, c: str) -> None:
    text = f"a={a}\nb=x\nc={c}\n{script}"
    try:
        said = effects(text)
    except ScriptError:
        return
    noted = run(text)
    assert noted is not None
    assert tuple(e for argv in noted for e in meant(argv)) == said
