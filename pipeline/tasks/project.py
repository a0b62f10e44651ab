"""The project of this run: a declaration, its lock, and where things lie. Loaded once, lazily."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

from pipeline.declaration.reading import parse_declaration
from pipeline.errors import ConfigurationError, PipelineError, StaleLockError
from pipeline.host.layout import PublishedLayout
from pipeline.host.store import Store
from pipeline.stages.plan import Plan, check_lock, make_plan, read_lock

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.declaration.tables import Declaration

DEFAULT: Final = "images.toml"


class Project:
    """Paths, and the documents at them."""

    def __init__(self, path: Path, *, store: Path | None, output: Path | None) -> None:
        self.path = path
        self.root = path.parent
        self.lock_path = path.with_suffix(".lock.json")
        self._store = store
        self._output = output

    @functools.cached_property
    def declaration(self) -> Declaration:
        """The declaration; raises DeclarationError or ConfigurationError."""
        try:
            data = self.path.read_bytes()
        except OSError as e:
            raise ConfigurationError(
                f"{self.path}: {e.strerror}",
                hint="write a declaration, or name one: doit config=FILE build",
            ) from None
        try:
            return parse_declaration(data)
        except PipelineError as e:
            raise ConfigurationError(f"{self.path}: {e}", hint=e.hint) from None

    @functools.cached_property
    def plan(self) -> Plan:
        """What there is to build; raises StaleLockError if the lock does not answer."""
        declaration = self.declaration
        lock = read_lock(self.lock_path)
        if lock is None:
            raise StaleLockError(
                f"there is no {self.lock_path}",
                hint="run `doit update`, review the lock and commit it",
            )
        check_lock(declaration, lock, what=str(self.lock_path))
        return make_plan(declaration, lock)

    @functools.cached_property
    def store(self) -> Store:
        """Shared by all declarations of a directory."""
        return Store(self._store or self.root / "build" / "store")

    @functools.cached_property
    def output(self) -> Path:
        """Where the layout goes."""
        return self._output or self.root / self.declaration.output

    @functools.cached_property
    def layout(self) -> PublishedLayout:
        """The layout."""
        return PublishedLayout(self.output, store=self.store)
