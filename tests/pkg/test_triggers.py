"""Triggers: what they watch, and what pkg saves of them for a root directory."""

from __future__ import annotations

import hashlib

import pytest

from fixtures.scripts.texts import package, read_trigger
from pipeline.errors import ScriptError
from pipeline.pkg.triggers import (
    DEFERRED,
    TRIGGER_DIRECTORIES,
    DeferredTrigger,
    Phase,
    SkippedTrigger,
    Trigger,
    defer_trigger,
    deferred_content,
    handle_triggers,
    parse_trigger,
    touched_directories,
    trigger_phase,
)

LOCAL = "/usr/local/share/pkg/triggers"
FONTS = f"{LOCAL}/fonts.ucl"
TOUCHED = (
    "",
    "/usr/local/etc/fonts/conf.d",
    "/usr/local/lib/quill12/plugins",
    "/usr/local/lib/quill12/plugins/more",
    "/usr/local/share/fonts",
    "/usr/local/share/fonts/quill",
    "/usr/local/share/icons",
    "/usr/local/share/icons/quill",
    "/usr/local/share/icons/quill/48x48",
    "/usr/local/share/omf/quill",
    "/usr/local/share/quill",
)


def trigger(name: str) -> Trigger:
    return parse_trigger(f"{LOCAL}/{name}", read_trigger(name))


def watched(name: str) -> list[str]:
    return [path for path in TOUCHED if trigger(name).watches(path)]


def made(text: str) -> Trigger:
    return parse_trigger(f"{LOCAL}/x.ucl", text.encode())


SCRIPT = 'trigger: { type: lua, sandbox: false, script: "return 0" }'


# ---------------------------------------------------------------- which files


@pytest.mark.parametrize(
    ("path", "phase"),
    [
        ("/usr/share/pkg/triggers/a.ucl", Phase.TRANSACTION),
        (FONTS, Phase.TRANSACTION),
        (f"{LOCAL}/post_install/a.ucl", Phase.POST_INSTALL),
        (f"{LOCAL}/pre_deinstall/a.ucl", Phase.PRE_DEINSTALL),
        (f"{LOCAL}/.a.ucl", None),
        (f"{LOCAL}/a.conf", None),
        (f"{LOCAL}/ucl", None),
        (f"{LOCAL}/other/a.ucl", None),
        (f"{LOCAL}/post_install/more/a.ucl", None),
        ("/usr/local/share/pkg/a.ucl", None),
        ("/opt/share/pkg/triggers/a.ucl", None),
        (f"{LOCAL}-more/a.ucl", None),
        ("a.ucl", None),
    ],
)
def test_trigger_files_are_found_by_path(path: str, phase: Phase | None) -> None:
    assert trigger_phase(path) is phase


def test_touched_are_directories_of_files_and_named_ones() -> None:
    """libpkg/triggers.c, append_touched_file: the directory of /COPYRIGHT is the empty string."""
    manifests = (
        package(files=("/usr/local/bin/quill", "/usr/local/bin/nib", "/COPYRIGHT")),
        package(directories=("/var/db/quill/",), files=("/usr/local/share/a/b",)),
    )
    assert touched_directories(manifests) == (
        "",
        "/usr/local/bin",
        "/usr/local/share/a",
        "/var/db/quill",
    )
    assert touched_directories(()) == ()


# ---------------------------------------------------------------- what they watch


def test_path_is_watched_exactly() -> None:
    assert watched("fonts.ucl") == ["/usr/local/etc/fonts/conf.d", "/usr/local/share/fonts"]


def test_glob_crosses_directories() -> None:
    """fnmatch(3) without FNM_PATHNAME."""
    assert watched("icons.ucl") == [
        "/usr/local/share/icons/quill",
        "/usr/local/share/icons/quill/48x48",
    ]


def test_expression_matches_anywhere_unless_anchored() -> None:
    assert watched("expressions.ucl") == [
        "/usr/local/lib/quill12/plugins",
        "/usr/local/share/omf/quill",
    ]


def test_all_three_kinds_together() -> None:
    text = 'path: /a\npath_glob: ["/b*"]\npath_regexp: "c$"\n' + SCRIPT
    assert [p for p in ("/a", "/a/x", "/bb", "/x/c", "/c/x") if made(text).watches(p)] == [
        "/a",
        "/bb",
        "/x/c",
    ]


# ---------------------------------------------------------------- reading


def test_trigger_is_read() -> None:
    icons = trigger("icons.ucl")
    assert icons.script.startswith("for _,path in ipairs(arg) do\n")
    assert '"${HOME}"' in icons.script
    assert icons.script.endswith("end")
    assert not icons.is_sandboxed
    assert trigger("sandboxed.ucl").is_sandboxed
    assert trigger("expressions.ucl").script == "return 0"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path: /a", f"{LOCAL}/x.ucl, trigger: want an object"),
        ("path: /a\ntrigger: lua", "trigger: want an object"),
        ("path: /a\ntrigger: {}", "trigger.type: got None, want lua"),
        ("path: /a\ntrigger: { type: shell, script: x }", "trigger.type: got 'shell', want lua"),
        ("path: /a\ntrigger: { type: lua }", "trigger.script: want the text of a script"),
        (
            "path: /a\ntrigger: { type: lua, script: 1 }",
            "trigger.script: want the text of a script",
        ),
        (
            "path: /a\ntrigger: { type: lua, script: x, sandbox: 1 }",
            "trigger.sandbox: want a boolean",
        ),
        (SCRIPT, "it watches nothing"),
        ("path: []\n" + SCRIPT, "it watches nothing"),
        ("path: 1\n" + SCRIPT, "path: want a string or an array of strings"),
        ("path: [/a, 1]\n" + SCRIPT, "path: want a string or an array of strings"),
        ("path_glob: '['\n" + SCRIPT, "pattern '[' not understood"),
        ("path_regexp: '(a'\n" + SCRIPT, "pattern '(a' not understood"),
        ("path: /a\n.include x\n" + SCRIPT, "macros"),
        ("path: {", "x.ucl, line 1, column 8: "),
        ("\udcff", "x.ucl: not UTF-8"),
    ],
)
def test_trigger_that_pkg_would_not_load_is_refused(text: str, message: str) -> None:
    path = f"{LOCAL}/x.ucl"
    with pytest.raises(ScriptError) as caught:
        parse_trigger(path, text.encode("utf-8", "surrogateescape"))
    assert message in str(caught.value)
    assert str(caught.value).startswith(path)
    assert f'skip = [{{ trigger = "{path}", reason = "…" }}]' in (caught.value.hint or "")


def test_file_elsewhere_is_refused() -> None:
    with pytest.raises(ScriptError, match=TRIGGER_DIRECTORIES[0]):
        parse_trigger("/etc/x.ucl", read_trigger("fonts.ucl"))


# ---------------------------------------------------------------- deferring


def test_content_is_what_pkg_saves() -> None:
    """The format of pkg's own test (tests/frontend/triggers.sh, deferred)."""
    assert deferred_content('\tprint("deferred " .. arg[1])', ["/trigger_dir"]) == (
        b'--begin args\n-- /trigger_dir\n--end args\n--\n\tprint("deferred " .. arg[1])\n'
    )


def test_trigger_is_deferred_with_what_set_it_off() -> None:
    deferred = defer_trigger(trigger("fonts.ucl"), reversed(TOUCHED))
    assert deferred is not None
    assert deferred.trigger == FONTS
    assert deferred.directories == ("/usr/local/etc/fonts/conf.d", "/usr/local/share/fonts")
    assert deferred.content == (
        b"--begin args\n"
        b"-- /usr/local/etc/fonts/conf.d\n"
        b"-- /usr/local/share/fonts\n"
        b"--end args\n"
        b"--\n"
        b'print("Counting glyphs...")\n'
        b'pkg.exec({"/usr/local/bin/glyph-count", "-s" })\n'
    )


def test_name_follows_from_the_path_of_the_trigger_alone() -> None:
    """Ten characters that pkg could have chosen; a child image replaces its parent's file."""
    name = hashlib.sha256(FONTS.encode()).hexdigest()[:10]
    for touched in (TOUCHED, ["/usr/local/share/fonts"]):
        deferred = defer_trigger(trigger("fonts.ucl"), touched)
        assert deferred is not None
        assert deferred.path == f"{DEFERRED}/{name}"


def test_trigger_that_nothing_sets_off_is_not_deferred() -> None:
    assert defer_trigger(trigger("fonts.ucl"), ["/usr/local/share/fonts/quill", ""]) is None
    assert defer_trigger(trigger("sandboxed.ucl"), ["/usr/local/bin"]) is None


def test_order_and_repetition_of_what_is_touched_do_not_matter() -> None:
    files = {FONTS: read_trigger("fonts.ucl"), f"{LOCAL}/icons.ucl": read_trigger("icons.ucl")}
    first = handle_triggers(files, TOUCHED, skip={})
    again = handle_triggers(dict(reversed(files.items())), [*reversed(TOUCHED), *TOUCHED], skip={})
    assert first == again
    assert [type(result) for result in first] == [DeferredTrigger, DeferredTrigger]


def test_sandboxed_trigger_is_refused_where_it_is_set_off() -> None:
    path = f"{LOCAL}/sandboxed.ucl"
    with pytest.raises(ScriptError, match="in a sandbox") as caught:
        handle_triggers({path: read_trigger("sandboxed.ucl")}, TOUCHED, skip={})
    assert str(caught.value).startswith(path)
    assert "skip" in (caught.value.hint or "")


@pytest.mark.parametrize("phase", ["pre_install", "post_install"])
def test_trigger_for_single_packages_is_refused(phase: str) -> None:
    path = f"{LOCAL}/{phase}/fonts.ucl"
    with pytest.raises(ScriptError, match="for each package"):
        handle_triggers({path: read_trigger("fonts.ucl")}, [], skip={})


@pytest.mark.parametrize("phase", ["pre_deinstall", "post_deinstall"])
def test_trigger_of_deinstallation_never_runs(phase: str) -> None:
    files = {f"{LOCAL}/{phase}/fonts.ucl": read_trigger("fonts.ucl")}
    assert handle_triggers(files, TOUCHED, skip={}) == ()


def test_directory_with_a_new_line_is_refused() -> None:
    with pytest.raises(ScriptError, match="new line"):
        defer_trigger(made("path_glob: '*'\n" + SCRIPT), ["/a\nb"])


# ---------------------------------------------------------------- skipping, reporting


def test_skipped_trigger_is_not_even_read() -> None:
    path = f"{LOCAL}/broken.ucl"
    (result,) = handle_triggers({path: b"{"}, TOUCHED, skip={path: "no fonts here"})
    assert result == SkippedTrigger(trigger=path, reason="no fonts here")
    assert result.describe() == f"{path}: skipped (no fonts here)"
    assert result.to_dict() == {
        "trigger": path,
        "treatment": "skipped",
        "reason": "no fonts here",
    }


def test_deferred_trigger_describes_itself() -> None:
    (result,) = handle_triggers({FONTS: read_trigger("fonts.ucl")}, TOUCHED, skip={})
    assert isinstance(result, DeferredTrigger)
    assert result.describe() == f"{FONTS}: deferred to {result.path} (2 directories)"
    assert result.to_dict() == {
        "trigger": FONTS,
        "treatment": "deferred",
        "path": result.path,
        "digest": f"sha256:{hashlib.sha256(result.content).hexdigest()}",
        "directories": ["/usr/local/etc/fonts/conf.d", "/usr/local/share/fonts"],
    }
    (one,) = handle_triggers(
        {FONTS: read_trigger("fonts.ucl")}, ["/usr/local/share/fonts"], skip={}
    )
    assert one.describe().endswith("(1 directory)")
