"""The tiers: imports point down, and pure code cannot even name the host.

The table is that of `pipeline/__init__.py`: `errors`; `formats`; `pkg`, `oci`, `attest`; `rootfs`;
`declaration`; `host`; `stages`; `tasks`.
"""

from __future__ import annotations

import ast
import functools
import sys
from pathlib import Path
from typing import TYPE_CHECKING

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
    "host": {"errors", "formats", "oci", "attest", "pipeline"},
    "stages": {
        *("errors", "formats", "pkg", "oci", "attest", "rootfs", "declaration", "host"),
        "pipeline",
    },
    "tasks": {"errors", "declaration", "stages", "host"},
}
"""`pipeline` is the package itself: its version and its place."""

COMMAND = set(ALLOWED) - {"tasks"} | {"pipeline"}
"""What a command may import, a module beside the tiers: `python -m pipeline.x`."""

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
    *(
        "urllib.request",
        "http",
        "ftplib",
        "smtplib",
        "logging",
        "sqlite3",
        "dbm",
        "shelve",
        "pickle",
    ),
    *("sys", "site", "gettext", "webbrowser", "threading", "doit", "urllib3", "rich"),
}
"""Clock, environment, locale, directories, randomness, network, processes, global state."""

BANNED_NAMES: set[tuple[str, str | None]] = {
    ("pathlib", None),
    ("pathlib", "Path"),
    ("pathlib", "PosixPath"),
    ("importlib", "import_module"),
    ("importlib", "resources"),
    ("importlib", "metadata"),
}
BANNED_CALLS = {"open", "print", "input", "eval", "exec", "compile", "__import__", "globals"}

THIRD_PARTY = {
    "formats": {"deflate", "msgspec", "zstandard"},
    "pkg": {"apsw", "cryptography", "msgspec", "resolvelib"},
    "rootfs": {"cryptography", "msgspec"},
    "declaration": {"msgspec"},
    "attest": {"cryptography", "nacl"},
    "oci": set(),
    "errors": set(),
}
"""What a pure tier may import from elsewhere."""


def modules() -> list[Path]:
    return sorted(path for path in PIPELINE.rglob("*.py") if path != PIPELINE / "__init__.py")


def tier_of(path: Path) -> str:
    return path.relative_to(PIPELINE).with_suffix("").parts[0]


@functools.cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(path.read_text("utf-8"))))


def imports(path: Path) -> Iterator[tuple[str, str | None, int]]:
    """Yield (module, name or None, line) of every import, also in functions and for types only."""
    for node in nodes(path):
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


def test_there_is_something_to_check() -> None:
    """Every tier of the table exists; what else there is are commands, which nobody imports."""
    assert {tier_of(path) for path in MODULES} >= set(ALLOWED)
    assert len(MODULES) > 40
    commands = {path for path in MODULES if tier_of(path) not in ALLOWED}
    for path in commands:
        assert path.parent == PIPELINE, f"{path} belongs to no tier"
        assert '__name__ == "__main__"' in path.read_text("utf-8"), f"{path} is no command"
    reached = {tiers_imported(m, n) for path in MODULES for m, n, _ in imports(path)}
    assert reached <= {None, "pipeline", *ALLOWED}


def test_the_table_has_no_cycle() -> None:
    """Imports only point down."""
    order = list(ALLOWED)
    for tier, below in ALLOWED.items():
        assert all(order.index(t) < order.index(tier) for t in below - {"pipeline"}), tier


def test_imports_point_down() -> None:
    """A tier imports itself and what the table allows, also where only types are meant."""
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: {tier_of(path)} imports {reached} ({module})"
        for path in MODULES
        for module, name, line in imports(path)
        if (reached := tiers_imported(module, name))
        not in {None, tier_of(path), *ALLOWED.get(tier_of(path), COMMAND)}
    ]
    assert wrong == []


def test_nobody_imports_what_is_above_the_package() -> None:
    """`reproducibility` imports `pipeline`, never the reverse; tests and fixtures are not code."""
    above = {"reproducibility", "tests", "fixtures", "benchmarks", "dodo"}
    assert [(p, m) for p in MODULES for m, _, _ in imports(p) if m.split(".")[0] in above] == []


PURE_MODULES = [path for path in MODULES if tier_of(path) in PURE]


def test_pure_code_cannot_reach_the_host() -> None:
    """No clock, environment, locale, directory, randomness, network, process or global state."""
    wrong = []
    for path in PURE_MODULES:
        where = path.relative_to(ROOT)
        for module, name, line in imports(path):
            reached = {module, module.split(".")[0], f"{module}.{name}"}
            if reached & BANNED or (module, name) in BANNED_NAMES:
                wrong.append(f"{where}:{line}: {module} {name or ''}")
        wrong += [
            f"{where}:{node.lineno}: {node.func.id}()"
            for node in nodes(path)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in BANNED_CALLS
        ]
    assert wrong == []


def test_pure_code_has_few_dependencies() -> None:
    """Each with a reason, in one tier."""
    ours = {"pipeline", "__future__", *sys.stdlib_module_names}
    found: dict[str, set[str]] = {tier: set() for tier in PURE}
    for path in PURE_MODULES:
        found[tier_of(path)] |= {m.split(".")[0] for m, _, _ in imports(path)} - ours
    assert {tier: names - THIRD_PARTY[tier] for tier, names in found.items()} == {
        tier: set() for tier in PURE
    }


def test_doit_and_processes_have_one_place() -> None:
    """Only `tasks` knows doit; only `host/command.py` starts processes."""
    importers: dict[str, set[str]] = {"doit": set(), "subprocess": set()}
    for path in MODULES:
        for module, _, _ in imports(path):
            importers.get(module.split(".")[0], set()).add(str(path.relative_to(PIPELINE)))
    assert {name for name in importers["doit"] if not name.startswith("tasks/")} == set()
    assert importers["subprocess"] <= {"host/command.py"}


def test_init_files_hold_a_docstring_only() -> None:
    """What the folder is, and what it may import; no code."""
    for path in MODULES:
        if path.name == "__init__.py":
            (node,) = ast.parse(path.read_text("utf-8")).body
            assert isinstance(node, ast.Expr), path
            assert isinstance(node.value, ast.Constant), path
            assert isinstance(node.value.value, str), path
