"""Lua scripts of packages: the stereotyped ones, recognised token by token.

Ports write lua scripts out of `Keywords/*.ucl`, with the line of the packing list filled in;
`pkg create` puts `-- args: …` in front of some. The environment is that of freebsd/pkg 2.8.4,
libpkg/lua_scripts.c and libpkg/lua.c: `pkg.prefixed_path` puts the prefix in front of a relative
path, `pkg.stat` and `io.open` look below the root directory, `pkg.copy` keeps mode, owner, times.

1. Comments and white space do not count; strings count by their value, however they are quoted.
2. A script is one of `_TEMPLATES`, whole: `@sample`, `@shell` and `@touch` of several years. Names
   of variables may differ where the template says so. Or it only prints fixed text.
3. Long strings (`[[`), escapes other than those of backslash, quotes and new line, and numbers
   other than digits are refused. Nothing is evaluated.
4. A template belongs to post-install: the files of the package exist.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.errors import ScriptError
from pipeline.pkg.effect_fields import check_image_path
from pipeline.pkg.effects import AddShell, CopySample, CreateFile
from pipeline.pkg.shell_words import MAX_TEXT, not_understood

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pipeline.pkg.effects import Effect

_TOKEN_RE: Final = re.compile(
    r"""(?P<skip>[ \t\n]+|--(?!\[=*\[)[^\n]*)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<number>[0-9]+(?![A-Za-z0-9_.]))
    |(?P<string>"(?:[^"\\\n]|\\[\\"'n])*"|'(?:[^'\\\n]|\\[\\"'n])*')
    |(?P<operator>\.\.(?!\.)|\.(?!\.)|==|~=|\[(?![=\[])|[](){}=,:\#;])""",
    re.VERBOSE,
)
_ESCAPES: Final = {"\\n": "\n"}
_HEADER: Final = "-- args: "
_SUFFIX: Final = ".sample"
_BLANK_RE: Final = re.compile(r"[ \t\n\v\f\r]+")


@dataclass(frozen=True, slots=True)
class Token:
    """One token: its kind (`name`, `number`, `string`, `operator`) and its value."""

    kind: str
    value: str


def scan_lua(text: str) -> tuple[Token, ...]:
    """Split a script into tokens (rules 1 and 3).

    Raises:
        ScriptError: for a character that is not understood; the context is the line.
    """
    if len(text) > MAX_TEXT:
        raise ScriptError(f"script of {len(text)} characters, want at most {MAX_TEXT}")
    result: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN_RE.match(text, at)
        if match is None:
            line = text.count("\n", 0, at) + 1
            raise not_understood(f"unknown lua at {text[at : at + 20]!a}", line=line)
        at = match.end()
        kind = match.lastgroup or ""
        if kind != "skip":
            result.append(Token(kind, _string(match[0]) if kind == "string" else match[0]))
    return tuple(result)


def recognise_lua(text: str, *, kind: str, prefix: str) -> tuple[Effect, ...]:
    """Return what a lua script does.

    Args:
        text: the script.
        kind: `pre-install` or `post-install`.
        prefix: the package's.

    Raises:
        ScriptError: if it is not one of the known ones.
    """
    tokens = scan_lua(text)
    if _only_prints(tokens):
        return ()
    arguments = _header(text)
    for template, effects in _TEMPLATES:
        holes = _match(template, tokens)
        if holes is not None and kind == "post-install":
            return effects(holes, arguments, prefix)
    raise not_understood(f"unknown lua script that begins with {_start(text)!a}", line=1)


def _string(source: str) -> str:
    return re.sub(r"\\.", lambda m: _ESCAPES.get(m[0], m[0][1]), source[1:-1])


def _start(text: str) -> str:
    lines = (line.strip() for line in text.split("\n"))
    return next((line for line in lines if line and not line.startswith("--")), "")[:80]


def _header(text: str) -> tuple[str, ...]:
    """Read `-- args: …` at the start; pkg(8) splits it like a shell, here quotes are refused."""
    if not text.startswith(_HEADER):
        return ()
    line = text[len(_HEADER) :].partition("\n")[0]
    if set(line) & set("\"'\\"):
        raise ScriptError("quotes in the arguments")
    return tuple(_words(line))


def _words(text: str) -> list[str]:
    return [word for word in _BLANK_RE.split(text) if word]


def _only_prints(tokens: Sequence[Token]) -> bool:
    """Say whether a script has only `print("…")`, `pkg.print_msg("…")`, at its end `return 0`."""
    rest = list(tokens)
    while rest:
        length = next((len(p) for p in _PRINTS if _match(p, rest[: len(p)]) is not None), 0)
        is_return = bool(rest) and rest[0].value == "return"
        if not length or (is_return and length < len(rest)):
            return False
        del rest[:length]
    return True


# ---------------------------------------------------------------- templates


def _match(template: Sequence[Token], tokens: Sequence[Token]) -> Mapping[str, str] | None:
    """Compare with a template; return what stands in its holes, or None.

    A hole is a string `$name`, or a name `V_…` for a variable that is called as it likes; the same
    hole holds the same value everywhere, and two variables never have one name.
    """
    if len(template) != len(tokens):
        return None
    holes: dict[str, str] = {}
    for want, got in zip(template, tokens, strict=True):
        is_hole = (want.kind == "string" and want.value.startswith("$")) or (
            want.kind == "name" and want.value.startswith("V_")
        )
        if want.kind != got.kind or (not is_hole and want.value != got.value):
            return None
        if is_hole and holes.setdefault(want.value, got.value) != got.value:
            return None
    variables = [value for name, value in holes.items() if name.startswith("V_")]
    if len(set(variables)) < len(variables) or any(map(_WORD_RE.fullmatch, variables)):
        return None
    return holes


def _sample(holes: Mapping[str, str], _arguments: Sequence[str], prefix: str) -> tuple[Effect, ...]:
    return _copy(_words(holes["$line"]), prefix)


def _old_sample(
    holes: Mapping[str, str], _arguments: Sequence[str], prefix: str
) -> tuple[Effect, ...]:
    """The count is a string, which lua never finds equal to 2: a second name is ignored."""
    return _copy([holes["$first"]], prefix)


def _sample_by_arguments(
    _holes: Mapping[str, str], arguments: Sequence[str], prefix: str
) -> tuple[Effect, ...]:
    return _copy(arguments, prefix)


def _copy(names: Sequence[str], prefix: str) -> tuple[Effect, ...]:
    if len(names) not in (1, 2):
        raise ScriptError(f"got {len(names)} files, want a sample and perhaps its target")
    source = _prefixed(names[0], prefix)
    target = source.removesuffix(_SUFFIX) if len(names) == 1 else _prefixed(names[1], prefix)
    if target == source:
        return ()  # it exists
    return (CopySample(source=source, target=target),)


def _shell(holes: Mapping[str, str], _arguments: Sequence[str], prefix: str) -> tuple[Effect, ...]:
    return (AddShell(path=_prefixed(holes["$path"], prefix)),)


def _touch(_holes: Mapping[str, str], arguments: Sequence[str], prefix: str) -> tuple[Effect, ...]:
    return tuple(CreateFile(path=_prefixed(name, prefix)) for name in arguments)


def _prefixed(name: str, prefix: str) -> str:
    """Do what `pkg.prefixed_path` does."""
    path = name if name.startswith("/") else f"{prefix.rstrip('/')}/{name}"
    return check_image_path(path)


_WORD_RE: Final = re.compile(
    "and|break|do|else|elseif|end|false|for|function|goto|if|in|local|nil|not|or|repeat|return"
    "|then|true|until|while|_ENV|_G|arg|assert|io|pkg|pkg_metalog|print|string|table"
)
"""Names that mean something; no variable is called so."""

_PRINTS: Final = (
    scan_lua('print("$text")'),
    scan_lua('pkg.print_msg("$text")'),
    scan_lua("return 0"),
)

_METALOG: Final = """
    if pkg_metalog ~= nil and pkg.metalog_copy ~= nil then
      pkg.metalog_copy(V_sample, V_target)
    end"""
_COPY: Final = """
  if not pkg.stat(V_target) then
    pkg.copy(V_sample, V_target)%s
  end"""
_SAMPLE: Final = (
    """
  V_args = {}
  for arg in string.gmatch("$line", "%S+") do
    table.insert(V_args, arg)
  end
  V_sample = pkg.prefixed_path(V_args[1])
  if V_args[2] == nil then
    V_target = string.gsub(V_sample, "%.sample$", "")
  else
    V_target = pkg.prefixed_path(V_args[2])
  end"""
    + _COPY
)
_OLD_SAMPLE: Final = (
    """
  V_sample = pkg.prefixed_path("$first")
  if "$count" == 2 then
    V_target = pkg.prefixed_path("$first")
  else
    V_target = string.gsub(V_sample, "%.sample$", "")
  end"""
    + _COPY
)
_SAMPLE_BY_ARGUMENTS: Final = (
    """
  V_sample = pkg.prefixed_path(arg[1])
  if arg[2] == nil then
    V_target = string.gsub(V_sample, "%.sample$", "")
  else
    V_target = pkg.prefixed_path(arg[2])
  end"""
    + _COPY
)
_SHELL: Final = """
  V_path = pkg.prefixed_path("$path")
  V_file = assert(io.open("/etc/shells", "r+"))
  while true do
    V_line = V_file:read()
    if V_line == nil then break end
    if V_line == V_path then
      V_file:close()
      return
    end
  end
  assert(V_file:write(V_path .. "\\n"))
  assert(V_file:close())"""
_SHELL_OR_NEW: Final = """
  V_path = pkg.prefixed_path("$path")
  V_file = io.open("/etc/shells", "r+")
  if V_file == nil then
    V_file = io.open("/etc/shells", "w+")
  end
  while true do
    V_line = V_file:read()
    if V_line == nil then break end
    if V_line == V_path then
      V_file:close()
      return
    end
  end
  V_file:write(V_path .. "\\n")
  V_file:close()"""
_TOUCH: Final = """
  for V_i = 1, #arg do
    assert(io.open(pkg.prefixed_path(arg[V_i]), "a"):close())
  end"""

_TEMPLATES: Final[
    tuple[
        tuple[
            tuple[Token, ...],
            Callable[[Mapping[str, str], Sequence[str], str], tuple[Effect, ...]],
        ],
        ...,
    ]
] = tuple(
    (scan_lua(source.replace("%s", metalog)), effects)
    for source, effects in (
        (_SAMPLE, _sample),
        (_OLD_SAMPLE, _old_sample),
        (_SAMPLE_BY_ARGUMENTS, _sample_by_arguments),
        (_SHELL, _shell),
        (_SHELL_OR_NEW, _shell),
        (_TOUCH, _touch),
    )
    for metalog in ("", _METALOG)
)
