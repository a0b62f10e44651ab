"""Lua scripts: the stereotyped ones by their tokens, any other refused."""

from __future__ import annotations

import pytest

from fixtures.scripts.texts import read_texts
from pipeline.errors import ScriptError
from pipeline.pkg.effects import AddShell, CopySample, CreateFile, Effect
from pipeline.pkg.lua_scripts import Token, recognise_lua, scan_lua
from pipeline.pkg.shell_words import MAX_TEXT

KNOWN = {
    name.partition(".")[0]: script.text
    for name, script in read_texts("known").items()
    if script.language == "lua"
}
SAMPLES = [name for name in KNOWN if name.startswith("sample")]
SAMPLE = CopySample(source="/usr/local/etc/quill.conf.sample", target="/usr/local/etc/quill.conf")


def effects(text: str, *, prefix: str = "/usr/local") -> tuple[Effect, ...]:
    return recognise_lua(text, kind="post-install", prefix=prefix)


def refused(text: str) -> None:
    with pytest.raises(ScriptError):
        effects(text)


# ---------------------------------------------------------------- white space, quotes, names


@pytest.mark.parametrize("name", KNOWN)
def test_white_space_and_comments_do_not_count(name: str) -> None:
    text = KNOWN[name]
    expected = effects(text)
    assert effects(text.strip()) == expected
    assert effects(text.replace("\n", "\n\t \n")) == expected
    assert effects(text + "\n-- the end\n") == expected
    assert effects(text.replace("  ", " ")) == expected
    assert effects(text.replace(", ", ",").replace(" == ", "==")) == expected


def test_quotes_do_not_count() -> None:
    text = KNOWN["sample-2025"]
    assert effects(text.replace("'%.sample$'", '"%.sample$"')) == (SAMPLE,)
    assert effects(text.replace('"%S+"', "'%S+'")) == (SAMPLE,)


def test_names_of_variables_do_not_count() -> None:
    text = KNOWN["shell"]
    assert effects(text.replace("shell_path", "path").replace("line", "entry")) == (
        AddShell(path="/usr/local/bin/qsh"),
    )


def test_shells_file_may_be_made() -> None:
    """A template that makes /etc/shells where there is none."""
    text = KNOWN["shell"].replace(
        'assert(io.open("/etc/shells", "r+"))', 'io.open("/etc/shells", "r+")'
    )
    text = text.replace(
        "  while",
        '  if shell == nil then\n    shell = io.open("/etc/shells", "w+")\n  end\n  while',
    )
    text = text.replace(
        'assert(shell:write(shell_path .. "\\n"))', 'shell:write(shell_path .. "\\n")'
    )
    text = text.replace("assert(shell:close())", "shell:close()")
    assert effects(text) == (AddShell(path="/usr/local/bin/qsh"),)


# ---------------------------------------------------------------- arguments


def test_prefix_goes_in_front_of_relative_paths() -> None:
    text = KNOWN["sample-2025"]
    assert effects(text, prefix="/opt/q/") == (
        CopySample(source="/opt/q/etc/quill.conf.sample", target="/opt/q/etc/quill.conf"),
    )
    assert effects(text.replace("etc/quill", "/etc/quill")) == (
        CopySample(source="/etc/quill.conf.sample", target="/etc/quill.conf"),
    )


def test_sample_without_the_suffix_is_its_own_target() -> None:
    """Then the target exists, and nothing is copied."""
    assert effects(KNOWN["sample-2025"].replace(".conf.sample", ".conf.dist")) == ()


def test_old_template_ignores_the_second_name() -> None:
    """It compares the text "2" with the number 2."""
    text = KNOWN["sample-2019"].replace('"1" == 2', '"2" == 2')
    assert effects(text) == (SAMPLE,)


def test_arguments_come_from_the_header_only_where_the_template_uses_it() -> None:
    assert effects(KNOWN["sample-2025"].replace("-- args: etc/quill", "-- args: etc/ink")) == (
        SAMPLE,
    )
    text = KNOWN["touch"]
    assert effects(text.replace("var/log/quill.log /var/db/nibs", "/a")) == (CreateFile(path="/a"),)
    assert effects(text.partition("\n")[2]) == ()
    refused(KNOWN["sample-by-arguments"].partition("\n")[2])


@pytest.mark.parametrize(
    "line", ["", "a b c", "a.sample ../b", "a//b.sample", "./a.sample", "a\\\\.sample"]
)
def test_sample_with_strange_arguments_is_refused(line: str) -> None:
    text = KNOWN["sample-2025"].replace('"etc/quill.conf.sample"', f'"{line}"')
    if line == "a\\\\.sample":
        assert effects(text) == (
            CopySample(source="/usr/local/a\\.sample", target="/usr/local/a\\"),
        )
    else:
        refused(text)


def test_quotes_in_the_header_are_refused() -> None:
    refused(KNOWN["touch"].replace("/var/db/nibs", "'/var/db/a b'"))


def test_template_in_pre_install_is_refused() -> None:
    """The files of the package are not there yet: the script would do something else."""
    with pytest.raises(ScriptError, match="unknown lua script"):
        recognise_lua(KNOWN["sample-2025"], kind="pre-install", prefix="/usr/local")


@pytest.mark.parametrize(
    "text", ["", "-- nothing", 'print("a")', "pkg.print_msg('a') print('b')", "return 0", "\n\n"]
)
def test_script_that_only_prints_does_nothing(text: str) -> None:
    for kind in ("pre-install", "post-install"):
        assert recognise_lua(text, kind=kind, prefix="/") == ()


# ---------------------------------------------------------------- near misses


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize(
    "change",
    [
        ("if not pkg.stat", "if pkg.stat"),
        ("pkg.copy(sample_file, target_file)", "pkg.copy(target_file, sample_file)"),
        ("pkg.copy(", "pkg.symlink("),
        ("pkg.copy(sample_file, target_file)", "pkg.copy(sample_file, sample_file)"),
        ("%.sample$", "%.sampl$"),
        ("%.sample$", "..sample$"),
        ('"")', '"x")'),
        ("sample_file = pkg.prefixed_path", "sample_file = pkg_prefix .. pkg.prefixed_path"),
        ("sample_file = pkg", "target_file = pkg"),
        ("sample_file", "pkg"),
        ("sample_file", "if"),
        ("sample_file", "_ENV"),
        ("sample_file", "_G"),
    ],
    ids=lambda change: change[1],
)
def test_near_miss_of_sample_is_refused(name: str, change: tuple[str, str]) -> None:
    assert change[0] in KNOWN[name]
    refused(KNOWN[name].replace(*change))


@pytest.mark.parametrize(
    "change",
    [
        ('"/etc/shells"', '"/etc/passwd"'),
        ('"r+"', '"w+"'),
        ("line == shell_path", "line == shell"),
        ("line == shell_path", "line ~= shell_path"),
        ('"\\n"', '"\\n/bin/evil\\n"'),
        ('"\\n"', '""'),
        ("shell:write(shell_path", "shell:write(line"),
        ("      return\n", ""),
        ("pkg.prefixed_path", "os.execute"),
    ],
    ids=lambda change: change[1],
)
def test_near_miss_of_shell_is_refused(change: tuple[str, str]) -> None:
    assert change[0] in KNOWN["shell"]
    refused(KNOWN["shell"].replace(*change))


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize(
    "more",
    [
        'os.execute("touch /tmp/x")',
        "os.remove(target_file)",
        'pkg.exec({"touch", "/tmp/x"})',
        'io.open("/tmp/x", "w")',
        "x = 1",
        ";",
        "goto a",
        "end",
    ],
)
def test_one_more_statement_is_refused(name: str, more: str) -> None:
    refused(f"{KNOWN[name]}\n{more}")
    refused(f"{more}\n{KNOWN[name]}")


@pytest.mark.parametrize(
    "text",
    [
        "print(x)",
        'print("a", "b")',
        'print("a" .. x)',
        'print "a"',
        "return 1",
        "return",
        'return 0 print("a")',
        "return 0 return 0",
        'pkg.print_msg("a"',
        'os.exit(0) print("a")',
    ],
)
def test_other_printing_is_refused(text: str) -> None:
    refused(text)


# ---------------------------------------------------------------- tokens


def test_tokens_are_read() -> None:
    assert scan_lua('a.b("c\\n\\"", \'d"\') -- e\n..#f[1]~=2') == (
        Token("name", "a"),
        Token("operator", "."),
        Token("name", "b"),
        Token("operator", "("),
        Token("string", 'c\n"'),
        Token("operator", ","),
        Token("string", 'd"'),
        Token("operator", ")"),
        Token("operator", ".."),
        Token("operator", "#"),
        Token("name", "f"),
        Token("operator", "["),
        Token("number", "1"),
        Token("operator", "]"),
        Token("operator", "~="),
        Token("number", "2"),
    )


@pytest.mark.parametrize(
    "text",
    [
        "[[a]]",
        "[=[a]=]",
        "--[[ a ]] os.exit()",
        "--[==[ a ]==]",
        '"a',
        '"a\nb"',
        '"\\x41"',
        '"\\065"',
        '"\\z"',
        "'a\\",
        "1.5",
        "0x10",
        "1e3",
        "a...",
        "a < b",
        "a + b",
        "\u0430rg",
        "a\u00a0b",
        "a\0b",
        "a\rb",
    ],
)
def test_other_tokens_are_refused(text: str) -> None:
    with pytest.raises(ScriptError, match="line 1: unknown lua at"):
        scan_lua(text)


def test_line_of_an_unknown_token_is_named() -> None:
    with pytest.raises(ScriptError, match="line 3: unknown lua at '& b'"):
        scan_lua("a\n\na & b")


def test_long_comment_that_is_none_is_a_comment() -> None:
    assert scan_lua("--[ a\n--[=a\n") == ()


def test_too_long_a_script_is_refused() -> None:
    with pytest.raises(ScriptError, match="want at most"):
        scan_lua("-" * (MAX_TEXT + 1))


def test_refusal_quotes_the_first_statement() -> None:
    with pytest.raises(ScriptError) as caught:
        effects('-- args: a\n\n  -- b\n  pkg.exec({"a"})\n')
    assert str(caught.value) == ("line 1: unknown lua script that begins with 'pkg.exec({\"a\"})'")
