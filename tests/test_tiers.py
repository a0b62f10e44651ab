"""The tiers: imports point down, and pure code cannot even name the host.

The table is that of `pipeline/__init__.py`: `errors`; `formats`; `pkg`, `oci`, `attest`; `rootfs`;
`declaration`; `host`; `stages`; `tasks`.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
PIPELINE = ROOT / "pipeline"

ALLOWED = {
    "errors": set(),
    "formats": {"errors"},
    "pkg": {"errors", "formats"},
    "oci": {"errors", "formats"},
    "attest": {"errors", "formats"},
    "rootfs": {"errors", "formats", "pkg"},
    "declaration": {"errors", "formats", "pkg"},
    "host": {"errors", "formats", "oci", "pipeline"},
    "stages": {
        *("errors", "formats", "pkg", "oci", "attest", "rootfs", "declaration", "host"),
        "pipeline",
    },
    "tasks": {"errors", "declaration", "stages", "host"},
}
"""`pipeline` is the package itself: its version and its place."""

PURE = {"errors", "formats", "pkg", "oci", "attest", "rootfs", "declaration"}

BANNED = {
    *(
        "os",
        "io",
        "time",
        "datetime",
        "calendar",
        "random",
        "secrets",
        "uuid",
        "locale",
        "platform",
    ),
    *("subprocess", "signal", "socket", "ssl", "select", "selectors", "asyncio", "multiprocessing"),
    *("tempfile", "glob", "shutil", "fcntl", "mmap", "pwd", "grp", "getpass", "ctypes"),
    *("urllib", "http", "ftplib", "smtplib", "logging", "sqlite3", "dbm", "shelve", "pickle"),
    *("sys", "site", "gettext", "webbrowser", "threading", "doit", "urllib3", "rich"),
}
"""Clock, environment, locale, directories, randomness, network, processes, global state."""

BANNED_NAMES = {
    ("pathlib", "Path"),
    ("pathlib", "PosixPath"),
    ("importlib", "import_module"),
    ("importlib", "resources"),
    ("importlib", "metadata"),
}
BANNED_CALLS = {"open", "print", "input", "eval", "exec", "compile", "__import__", "globals"}

THIRD_PARTY = {
    "formats": {"deflate", "zstandard"},
    "pkg": {"apsw", "cryptography", "resolvelib"},
    "rootfs": {"cryptography"},
    "declaration": {"msgspec"},
    "attest": set(),
    "oci": set(),
    "errors": set(),
}
"""What a pure tier may import from elsewhere."""


def modules() -> list[Path]:
    return sorted(path for path in PIPELINE.rglob("*.py") if path != PIPELINE / "__init__.py")


def tier_of(path: Path) -> str:
    return path.relative_to(PIPELINE).with_suffix("").parts[0]


def imports(path: Path) -> Iterator[tuple[str, str | None, int]]:
    """Yield (module, name or None, line) of every import, also in functions and for types only."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, None, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            for alias in node.names:
                yield str(node.module), alias.name, node.lineno


def tiers_imported(module: str, name: str | None) -> str | None:
    """Return the tier that an import reaches, None if it is not of this package."""
    parts = module.split(".")
    if parts[0] != "pipeline":
        return None
    if len(parts) > 1:
        return parts[1]
    return name if name in ALLOWED else "pipeline"


MODULES = modules()
NAMES = [str(path.relative_to(ROOT)) for path in MODULES]


def test_there_is_something_to_check():
    """Every tier of the table exists, and nothing else does."""
    assert {tier_of(path) for path in MODULES} == set(ALLOWED)
    assert len(MODULES) > 40


def test_the_table_has_no_cycle():
    """Imports only point down."""
    order = list(ALLOWED)
    for tier, below in ALLOWED.items():
        assert all(order.index(t) < order.index(tier) for t in below - {"pipeline"}), tier


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_imports_point_down(path):
    """A tier imports itself and what the table allows, also where only types are meant."""
    tier = tier_of(path)
    wrong = [
        f"{path}:{line}: {tier} imports {reached} ({module})"
        for module, name, line in imports(path)
        if (reached := tiers_imported(module, name)) not in {None, tier, *ALLOWED[tier]}
    ]
    assert wrong == []


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_nobody_imports_what_is_above_the_package(path):
    """`reproducibility` imports `pipeline`, never the reverse; tests and fixtures are not code."""
    above = {"reproducibility", "tests", "fixtures", "benchmarks", "dodo"}
    assert [m for m, _, _ in imports(path) if m.split(".")[0] in above] == []


PURE_MODULES = [path for path in MODULES if tier_of(path) in PURE]


@pytest.mark.parametrize("path", PURE_MODULES, ids=[str(p.relative_to(ROOT)) for p in PURE_MODULES])
def test_pure_code_cannot_reach_the_host(path):
    """No clock, environment, locale, directory, randomness, network, process or global state."""
    wrong = []
    for module, name, line in imports(path):
        top = module.split(".")[0]
        if top in BANNED or (module, name) in BANNED_NAMES or (module, name) == ("pathlib", None):
            wrong.append(f"{path}:{line}: {module} {name or ''}")
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in BANNED_CALLS
        ):
            wrong.append(f"{path}:{node.lineno}: {node.func.id}()")
    assert wrong == []


@pytest.mark.parametrize("path", PURE_MODULES, ids=[str(p.relative_to(ROOT)) for p in PURE_MODULES])
def test_pure_code_has_few_dependencies(path):
    """Each with a reason, in one tier."""
    ours = {"pipeline", "__future__"}
    tops = {m.split(".")[0] for m, _, _ in imports(path)} - ours - sys.stdlib_module_names
    assert tops <= THIRD_PARTY[tier_of(path)]


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_doit_and_processes_have_one_place(path):
    """Only `tasks` knows doit; only `host/command.py` starts processes."""
    tops = {m.split(".")[0] for m, _, _ in imports(path)}
    assert "doit" not in tops or tier_of(path) == "tasks"
    assert "subprocess" not in tops or path == PIPELINE / "host" / "command.py"


@pytest.mark.parametrize(
    "path",
    [path for path in MODULES if path.name == "__init__.py"],
    ids=lambda path: path.parent.name,
)
def test_init_files_hold_a_docstring_only(path):
    """What the folder is, and what it may import; no code."""
    (node,) = ast.parse(path.read_text("utf-8")).body
    assert isinstance(node, ast.Expr)
    assert isinstance(node.value, ast.Constant)
    assert isinstance(node.value.value, str)
