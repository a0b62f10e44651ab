"""Commands of package scripts: what one command, its words expanded, does to an image.

The table is closed: a program, subcommand, option or argument that is not in it is refused. What
the programs do: their manual pages in FreeBSD 14 and 15; which of them scripts use: Mk/Scripts,
Keywords of FreeBSD ports, release/packages of freebsd-src.

1. A program is called by its bare name or by its path; both mean FreeBSD's own.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from pipeline.errors import ScriptError
from pipeline.pkg.effects import (
    DIRECTORY_ARGUMENT,
    ByteOrder,
    CapMkdb,
    CertctlForm,
    CertctlRehash,
    ChangeMode,
    CopySample,
    IndexInfo,
    KldXref,
    Ldconfig,
    MakeDirectory,
    PwdMkdb,
    ServicesMkdb,
)
from pipeline.pkg.script_accounts import run_pw
from pipeline.pkg.script_arguments import (
    Outcome,
    Query,
    Question,
    expect_path,
    image_path,
    negated,
    read_mode,
    read_number,
    read_operands,
    read_options,
)
from pipeline.pkg.script_compare import is_equal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pipeline.pkg.script_arguments import Status

_PLACES: Final[Mapping[str, tuple[str, ...]]] = {
    "[": ("/bin",),
    "cap_mkdb": ("/usr/bin",),
    "certctl": ("/usr/sbin",),
    "chmod": ("/bin",),
    "cp": ("/bin",),
    "echo": ("/bin",),
    "env": ("/usr/bin",),
    "false": ("/usr/bin",),
    "grep": ("/usr/bin",),
    "indexinfo": ("/usr/local/bin",),
    "install": ("/usr/bin",),
    "kldxref": ("/usr/sbin",),
    "ldconfig": ("/sbin",),
    "printf": ("/usr/bin",),
    "pw": ("/usr/sbin",),
    "pwd_mkdb": ("/usr/sbin",),
    "rm": ("/bin",),
    "service": ("/usr/sbin",),
    "services_mkdb": ("/usr/sbin",),
    "test": ("/bin",),
    "true": ("/usr/bin",),
}
"""Where FreeBSD has each program that may be called by its path."""

_FORMAT_RE: Final = re.compile(r"(?:[^%\\]|%[%s]|\\[\\abefnrtv])*")


def program_name(text: str) -> str:
    """Return the name of a program that is called by name or by path (rule 1)."""
    folder, slash, name = text.rpartition("/")
    if not slash:
        return text
    if folder in _PLACES.get(name, ()):
        return name
    raise ScriptError(f"unknown program {text!a}")


def run_command(name: str, arguments: Sequence[str], destination: str | None) -> Outcome:
    """Say what a command does.

    Args:
        name: as `program_name` gives it.
        arguments: behind it, expanded.
        destination: the value of DESTDIR in front of certctl, if it is there.

    Raises:
        ScriptError: if the command is not in the table.
    """
    if name == "certctl":
        return _certctl(arguments, destination)
    command = _COMMANDS.get(name)
    if command is None:
        raise ScriptError(f"unknown command {name!a}")
    return command(arguments)


# ---------------------------------------------------------------- without effect


def _nothing(_arguments: Sequence[str]) -> Outcome:
    return Outcome()


def _printf(arguments: Sequence[str]) -> Outcome:
    """Only formats that no argument can make fail."""
    form = arguments[0] if arguments else "-"
    if form.startswith("-") or not _FORMAT_RE.fullmatch(form):
        raise ScriptError(f"got format {form[:80]!a}, want text, %s and %%")
    return Outcome()


def _false(_arguments: Sequence[str]) -> Outcome:
    return Outcome(status=False)


def _cd(arguments: Sequence[str]) -> Outcome:
    """Only to the root: no path that is accepted elsewhere is relative."""
    expect_path(read_operands(arguments, 1)[0], "/")
    return Outcome()


def _bracket(arguments: Sequence[str]) -> Outcome:
    if not arguments or arguments[-1] != "]":
        raise ScriptError("[ without ]")
    return _test(arguments[:-1])


_UNARY: Final[Mapping[str, Callable[[str], Status]]] = {
    "-n": lambda text: text != "",
    "-z": lambda text: text == "",
    "-f": lambda path: Question(Query.FILE, (image_path(path),), holds=True),
    "-e": lambda path: Question(Query.FILE, (image_path(path),), holds=True),
    "-d": lambda path: Question(Query.DIRECTORY, (image_path(path),), holds=True),
    "-x": lambda path: Question(Query.PROGRAM, (image_path(path),), holds=True),
}
_BINARY: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "=": is_equal,
    "!=": lambda left, right: not is_equal(left, right),
    "-eq": lambda left, right: read_number(left) == read_number(right),
    "-ne": lambda left, right: read_number(left) != read_number(right),
}


def _test(arguments: Sequence[str]) -> Outcome:
    """Evaluate `test`: strings are known, files are questions."""
    if arguments and arguments[0] == "!":
        return Outcome(status=negated(_test(arguments[1:]).status))
    if len(arguments) == 2 and arguments[0] in _UNARY:  # noqa: PLR2004
        return Outcome(status=_UNARY[arguments[0]](arguments[1]))
    if len(arguments) == 3 and arguments[1] in _BINARY:  # noqa: PLR2004
        return Outcome(status=_BINARY[arguments[1]](arguments[0], arguments[2]))
    raise ScriptError("unknown test")


# ---------------------------------------------------------------- databases


def _byte_order(options: Mapping[str, str]) -> ByteOrder:
    if "l" in options and "b" in options:
        raise ScriptError("options -l and -b")
    return (
        ByteOrder.LITTLE
        if "l" in options
        else ByteOrder.BIG
        if "b" in options
        else ByteOrder.NATIVE
    )


def _pwd_mkdb(arguments: Sequence[str]) -> Outcome:
    options, operands = read_options(arguments, flags="ip", values="d")
    if not {"p", "d"} <= options.keys():
        raise ScriptError("pwd_mkdb wants -p and -d")
    expect_path(options["d"], "/etc")
    expect_path(read_operands(operands, 1)[0], "/etc/master.passwd")
    return Outcome(effects=(PwdMkdb(),))


def _services_mkdb(arguments: Sequence[str]) -> Outcome:
    options, operands = read_options(arguments, flags="lbq", values="o")
    if "o" not in options:
        raise ScriptError("services_mkdb wants -o")
    expect_path(options["o"], "/var/db/services.db")
    source = image_path(read_operands(operands, 1)[0])
    if source not in ("/", "/etc/services"):
        raise ScriptError(f"got path {source!a}, want '/' or '/etc/services'")
    argument = DIRECTORY_ARGUMENT if source == "/" else source
    effect = ServicesMkdb(argument=argument, byte_order=_byte_order(options))
    return Outcome(effects=(effect,))


def _cap_mkdb(arguments: Sequence[str]) -> Outcome:
    options, operands = read_options(arguments, flags="lb")
    path = image_path(read_operands(operands, 1)[0])
    return Outcome(effects=(CapMkdb(path=path, byte_order=_byte_order(options)),))


def _certctl(arguments: Sequence[str], destination: str | None) -> Outcome:
    """The destination tells the program: an option of the new one, DESTDIR for the old one."""
    options, operands = read_options(arguments, values="D")
    if operands != ["rehash"]:
        raise ScriptError("certctl wants rehash")
    if ("D" in options) == (destination is not None):
        raise ScriptError("certctl wants either -D or DESTDIR")
    expect_path(options.get("D", destination or ""), "/")
    form = CertctlForm.C if "D" in options else CertctlForm.SHELL
    return Outcome(effects=(CertctlRehash(form=form),))


def _service(arguments: Sequence[str]) -> Outcome:
    """Only the linker's hints are files; any other service belongs to a running system."""
    if list(arguments) != ["ldconfig", "restart"]:
        raise ScriptError("services belong to a running system")
    return Outcome(effects=(Ldconfig(),))


def _ldconfig(arguments: Sequence[str]) -> Outcome:
    """`ldconfig -m` of ports before 2018; of a directory that the hints always have."""
    options, operands = read_options(arguments, flags="m")
    if "m" not in options:
        raise ScriptError("ldconfig wants -m")
    expect_path(read_operands(operands, 1)[0], "/usr/local/lib")
    return Outcome(effects=(Ldconfig(),))


# ---------------------------------------------------------------- files


def _install(arguments: Sequence[str]) -> Outcome:
    options, operands = read_options(arguments, flags="d", values="gomN")
    if not {"d", "g", "o"} <= options.keys() or not operands:
        raise ScriptError("install wants -d, -g, -o and a directory")
    if "N" in options:
        expect_path(options["N"], "/etc")
    mode = read_mode(options.get("m", "755"))
    effects = tuple(
        MakeDirectory(path=image_path(path), owner=options["o"], group=options["g"], mode=mode)
        for path in operands
    )
    return Outcome(effects=effects)


def _cp(arguments: Sequence[str]) -> Outcome:
    options, operands = read_options(arguments, flags="p")
    if "p" not in options:
        raise ScriptError("cp wants -p")
    source, target = read_operands(operands, 2)
    return Outcome(effects=(CopySample(source=image_path(source), target=image_path(target)),))


def _chmod(arguments: Sequence[str]) -> Outcome:
    _, operands = read_options(arguments)
    mode, path = read_operands(operands, 2)
    return Outcome(effects=(ChangeMode(path=image_path(path), mode=read_mode(mode)),))


def _indexinfo(arguments: Sequence[str]) -> Outcome:
    _, operands = read_options(arguments)
    return Outcome(effects=(IndexInfo(directory=image_path(read_operands(operands, 1)[0])),))


def _kldxref(arguments: Sequence[str]) -> Outcome:
    _, operands = read_options(arguments)
    return Outcome(effects=(KldXref(directory=image_path(read_operands(operands, 1)[0])),))


_COMMANDS: Final[Mapping[str, Callable[[Sequence[str]], Outcome]]] = {
    ":": _nothing,
    "[": _bracket,
    "cap_mkdb": _cap_mkdb,
    "cd": _cd,
    "chmod": _chmod,
    "cp": _cp,
    "echo": _nothing,
    "false": _false,
    "indexinfo": _indexinfo,
    "install": _install,
    "kldxref": _kldxref,
    "ldconfig": _ldconfig,
    "printf": _printf,
    "pw": run_pw,
    "pwd_mkdb": _pwd_mkdb,
    "service": _service,
    "services_mkdb": _services_mkdb,
    "test": _test,
    "true": _nothing,
}
