"""Run the audit on all planted faults, and write docs/audit-faults.md from what it found.

python -m tests.reproducibility.faults.table
"""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.tasks.project import Project
from reproducibility.audit import audit
from reproducibility.audit_session import Settings
from reproducibility.causes import Cause
from tests.reproducibility.faults.catalogue import FAULTS, Fault
from tests.reproducibility.faults.hook import OTHER_VERSION, interpreter, write_project
from tests.tasks.project import ROOT

if TYPE_CHECKING:
    from reproducibility.audit import Audit
    from reproducibility.choices import Choice

DOCUMENT: Final = ROOT / "docs" / "audit-faults.md"
PREFIX: Final = "freebsd-fault-"

_HEAD: Final = """\
# Planted faults

What `doit audit` says about deliberate faults. Each is planted into an image of its own, or into
what is said of it, by a test (`tests/reproducibility/faults`), from outside: the product has no
switch for it. All of them are built and audited together; then the audit names a cause and the
variations to blame.

This table is made from a test run, `python -m tests.reproducibility.faults.table`, and a test
checks that it is current.

| the build … | begins at | cause | to blame |
|---|---|---|---|
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the audit says about one fault."""

    fault: Fault
    causes: tuple[Cause, ...]
    """Those of the image's differences, without mere consequences."""
    variations: tuple[str, ...]
    blame: str
    """Them, and of the environment the variables."""
    is_unstable: bool
    begins: str
    """Kind of the task whose result is the first to differ."""

    @property
    def is_caught(self) -> bool:
        """Whether the image was found to be different."""
        return bool(self.causes)

    @property
    def cause(self) -> str:
        """The cause that the audit gives, the right one if it is among several."""
        right: list[str] = [cause for cause in self.causes if cause in self.fault.causes]
        return (right or [*self.causes, ""])[0]

    @property
    def is_right(self) -> bool:
        """Whether the class of the cause is right; `unknown` never is."""
        return self.cause in self.fault.causes

    @property
    def is_blamed(self) -> bool:
        """Whether the right variations, and no others, are blamed."""
        if not self.fault.variations:
            return self.is_unstable and not self.variations
        return self.variations == tuple(sorted(self.fault.variations)) and not self.is_unstable


def run_audit(folder: Path) -> Audit:
    """Audit a project with every fault in it."""
    path = write_project(folder / "project", tuple(fault.name for fault in FAULTS))
    settings = Settings(
        report=folder / "report",
        work=folder / "work",
        python=interpreter(folder / "python"),
        others=(interpreter(folder / "python-other", version=OTHER_VERSION),),
        is_fresh=True,
        diffoscope=None,
    )
    return audit(Project(path, store=None, output=None), settings)


def findings(result: Audit) -> tuple[Found, ...]:
    """Return what an audit says about each fault."""
    assert result.bisection is not None, "something was found"
    causes: dict[str, set[Cause]] = defaultdict(set)
    for comparison in result.report.comparisons:
        for difference in comparison.differences:
            name = difference.place.image.removeprefix(PREFIX).partition(":")[0]
            causes[name] |= {difference.cause} - {Cause.CONSEQUENCE}
    blamed: dict[str, set[str]] = defaultdict(set)
    words: dict[str, set[str]] = defaultdict(set)
    for guilt in result.bisection.guilty:
        for task in guilt.tasks:
            blamed[_fault_of(task)] |= {choice.variation for choice in guilt.choices}
            words[_fault_of(task)] |= {_words(choice) for choice in guilt.choices}
    begins = {_fault_of(task): task.partition(":")[0] for task in result.bisection.tasks}
    unstable = {_fault_of(task) for task in result.bisection.unstable}
    return tuple(
        Found(
            fault=fault,
            causes=tuple(sorted(causes[fault.name], key=list(Cause).index)),
            variations=tuple(sorted(blamed[fault.name])),
            blame=", ".join(sorted(words[fault.name])),
            is_unstable=fault.name in unstable,
            begins=begins.get(fault.name, ""),
        )
        for fault in FAULTS
    )


def _fault_of(task: str) -> str:
    image = [part for part in task.split(":") if part.startswith("fault-")]
    return image[0].removeprefix("fault-") if image else ""


def _words(choice: Choice) -> str:
    return str(choice) if choice.setting.name.startswith("$") else choice.variation


def document(found: tuple[Found, ...]) -> str:
    """Return the page."""
    lines = [
        f"| {f.fault.what} | {f.begins} | {f.cause or 'not caught'} | {_blame(f)} |\n"
        for f in found
    ]
    caught = sum(f.is_caught for f in found)
    right = sum(f.is_right for f in found)
    blamed = sum(f.is_blamed for f in found)
    unknown = sum(not f.fault.causes for f in found)
    end = (
        f"\n{len(found)} faults: {caught} caught, {right} with the right class of cause, {blamed}"
        f" blamed on the right variations. {unknown} are of a kind that has no class: there the"
        " cause is `unknown`, and the report shows both sides.\n"
    )
    return "".join((_HEAD, *lines, end))


def _blame(f: Found) -> str:
    if f.is_unstable:
        return "differs on every run"
    return f.blame or "nobody"


def main() -> None:
    """Write the page."""
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        text = document(findings(run_audit(Path(folder) / "f")))
    DOCUMENT.write_text(text, "utf-8")
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
