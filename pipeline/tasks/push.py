"""Tasks that take images out of the layout.

    index:R:IMAGE                 in the layout (pipeline.tasks.build)
    sbom, provenance              attached, with the lock; and sign, where there is a key
      push:R:IMAGE                into a registry: `doit push [--to HOST/NAMESPACE] [--dry-run]`
      archive:R:IMAGE             into a tar file, build/archives/IMAGE-R.tar
    export                        all of them into a directory that a web server serves

They are never up to date: what a registry has, only the registry knows. Asking it costs one request
a blob. Pushes wait for each other, so that one finds what the other has brought, and the images of
a release come in the order of their parents.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from doit import get_var, task_params

from pipeline.errors import ConfigurationError, FormatError, PipelineError
from pipeline.host.environment import setting
from pipeline.host.progress import human_size
from pipeline.tasks.config import PROJECT
from pipeline.tasks.places import attest_layout
from pipeline.tasks.reporter import format_table, say
from pipeline.tasks.results import image_reference
from pipeline.tasks.state import Task, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from pipeline.host.joined_layout import JoinedLayout
    from pipeline.host.registry import Registry
    from pipeline.stages.parcel import Prefix, Target
    from pipeline.stages.plan import ImagePlan
    from pipeline.stages.push import PushResult, Step

_HINT: Final = 'doit push --to HOST/NAMESPACE, or prefix = "HOST/NAMESPACE" in [registry]'

_PUSH_PARAMS: Final = [
    {
        "name": "to",
        "long": "to",
        "default": "",
        "help": "registry and namespace, e.g. ghcr.io/freebsd; the declaration's where absent",
    },
    {
        "name": "dry_run",
        "long": "dry-run",
        "type": bool,
        "default": False,
        "help": "only show what would go, and what is there",
    },
    {
        "name": "plain_http",
        "long": "plain-http",
        "type": bool,
        "default": False,
        "help": "without TLS, also where that is not this machine",
    },
]

_EXPORT_PARAMS: Final = [
    {
        "name": "to",
        "long": "to",
        "default": "build/registry",
        "help": "directory, relative to the declaration",
    }
]


# ---------------------------------------------------------------- what goes where


def _references() -> dict[str, tuple[ImagePlan, ...]]:
    """Return the images there are; none while the lock does not answer the declaration."""
    try:
        return PROJECT.plan.references()
    except PipelineError:
        return {}


def _without_lock() -> Iterator[Task]:
    """Yield a task that says what is wrong, where there is no lock to know images by."""
    if not _references():
        yield {"name": "lock", "actions": [(run, [lambda: PROJECT.plan])], "uptodate": [False]}


def _source() -> JoinedLayout:
    """Return where images come from, and what is said of them."""
    from pipeline.host.joined_layout import JoinedLayout  # noqa: PLC0415

    return JoinedLayout(PROJECT.layout, attest_layout())


def _is_signing() -> bool:
    """Say whether this project signs, so that what leaves it is signed first."""
    declared = PROJECT.declaration.signing
    names = ("key", "gpg_key")
    said = any(get_var(name) or setting(name) for name in names)
    return said or bool(declared.key or declared.gpg_key or declared.command)


def _dependencies(plans: Sequence[ImagePlan]) -> list[str]:
    """Return what an image does not leave without: SBOM, lock, and signatures where it has any."""
    tasks = ("provenance", "sign") if _is_signing() else ("provenance",)
    index = f"{plans[0].release}:{plans[0].name}"
    platforms = [str(plan) for plan in plans]
    said = [f"{task}:{name}" for task in tasks for name in (index, *platforms)]
    return [f"index:{index}", *(f"sbom:{name}" for name in platforms), *said]


def _prefix(text: str) -> Prefix:
    from pipeline.stages.parcel import Prefix  # noqa: PLC0415  - loaded where there is work

    text = text or PROJECT.declaration.registry.prefix
    if not text:
        raise ConfigurationError("there is no registry to push to", hint=_HINT)
    try:
        return Prefix.parse(text)
    except FormatError as e:
        raise ConfigurationError(str(e), hint=_HINT) from None


def _targets(plans: Sequence[ImagePlan], repository: Callable[[str], str]) -> list[Target]:
    """Return where an image goes: its index, and its platforms where they have tags."""
    from pipeline.stages.parcel import Target, tags_of  # noqa: PLC0415

    settings = PROJECT.declaration.registry
    plan = plans[0]
    name, _, tag = plan.reference.partition(":")
    releases = [p[0].release for p in _references().values() if p[0].name == plan.name]
    tags = dict.fromkeys((tag, *tags_of(plan.release, releases, tuple(settings.moving_tags))))
    targets = [Target(name=plan.reference, path=repository(name), tags=tuple(tags))]
    for one in plans if settings.platform_tags else ():
        reference = image_reference(one)
        own = (reference.partition(":")[2],)
        targets.append(Target(name=reference, path=repository(name), tags=own))
    return targets


# ---------------------------------------------------------------- push


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    """What the command line says."""

    to: str
    is_dry: bool
    is_plain: bool


@task_params(_PUSH_PARAMS)  # type: ignore[untyped-decorator]
def task_push(to: str, dry_run: bool, plain_http: bool) -> Iterator[Task]:  # noqa: FBT001  - doit
    """Push images to a registry: push:RELEASE:IMAGE."""
    yield {"name": None, "doc": "Push images to a registry (push:RELEASE:IMAGE)"}
    yield from _without_lock()
    options = _Options(to=to, is_dry=dry_run, is_plain=plain_http)
    for plans in _references().values():
        yield {
            "name": f"{plans[0].release}:{plans[0].name}",
            "doc": f"Push {plans[0].reference}",
            "actions": [(_push_task, [plans, options])],
            "params": _PUSH_PARAMS,
            "task_dep": _dependencies(plans),
            "uptodate": [False],
            "verbosity": 2,
        }


def _push_task(
    plans: tuple[ImagePlan, ...],
    of_all: _Options,
    to: str,
    dry_run: bool,  # noqa: FBT001  - doit's options, of `doit push:R:IMAGE`
    plain_http: bool,  # noqa: FBT001
) -> object:
    """Push one image; its own options add to those of `doit push`."""
    options = _Options(
        to=to or of_all.to,
        is_dry=dry_run or of_all.is_dry,
        is_plain=plain_http or of_all.is_plain,
    )
    return run(_push, plans, options)


def _push(plans: tuple[ImagePlan, ...], options: _Options) -> None:
    from pipeline.host.registry_progress import Transfers  # noqa: PLC0415
    from pipeline.stages.push import push  # noqa: PLC0415

    prefix = _prefix(options.to)
    targets = _targets(plans, prefix.repository)
    related = [t for p in _relatives(plans[0]) for t in _targets(p, prefix.repository)]
    with _alone(), Transfers(f"pushing {targets[0].name}") as progress:
        result = push(
            _source(),
            targets,
            registry=_registry(prefix, is_plain=options.is_plain),
            related=related,
            dry_run=options.is_dry,
            progress=None if options.is_dry else progress,
        )
    if options.is_dry:
        say(_plan_table(prefix, result.steps))
    say(_summary(prefix, targets[0], result, is_dry=options.is_dry))


def _relatives(plan: ImagePlan) -> list[tuple[ImagePlan, ...]]:
    """Return an image's parents, the nearest first."""
    references = _references()
    return [references[parent.reference] for parent in reversed(plan.lineage[:-1])]


def _registry(prefix: Prefix, *, is_plain: bool) -> Registry:
    from pipeline.host.registry import Registry  # noqa: PLC0415
    from pipeline.host.registry_session import Access  # noqa: PLC0415

    settings = PROJECT.declaration.registry
    return Registry(
        prefix.host,
        Access(
            plain_http=True if is_plain or settings.plain_http else None,
            ca_file=PROJECT.root / settings.ca_file if settings.ca_file else None,
        ),
    )


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Wait for the pushes of other processes."""
    path = PROJECT.store.root / "push.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _plan_table(prefix: Prefix, steps: Sequence[Step]) -> str:
    rows = [("WHAT", "ACTION", "REPOSITORY", "NAME", "NOTE", "SIZE")]
    rows += [
        (s.kind, s.action, f"{prefix.host}/{s.path}", _short(s.name), s.note, human_size(s.size))
        for s in steps
    ]
    return format_table(rows).rstrip("\n")


def _short(name: str) -> str:
    return name[:19] if name.startswith("sha256:") else name


def _summary(prefix: Prefix, target: Target, result: PushResult, *, is_dry: bool) -> str:
    from pipeline.stages.push import Action, Kind  # noqa: PLC0415

    done = ("to send", "to mount") if is_dry else ("sent", "mounted")
    words = dict(zip((Action.SEND, Action.MOUNT), done, strict=True))
    words[Action.PRESENT] = "there already"
    counts = [(result.count(Kind.BLOB, action), word) for action, word in words.items()]
    blobs = ", ".join(f"{count} {word}" for count, word in counts if count)
    tags = [s.name for s in result.steps if s.kind is Kind.TAG and s.action is Action.SEND]
    own = [tag for tag in tags if tag in target.tags]
    moved = [f"tags {', '.join(own)}" if own else "tags as they were"]
    if len(tags) > len(own):
        moved.append(f"{len(tags) - len(own)} of signatures")
    verb = "would push" if is_dry else "pushed"
    return (
        f"{verb} {prefix.host}/{target.path}@{result.digests[target.name]}:"
        f" blobs: {blobs} ({human_size(result.sent)}); {', '.join(moved)}"
    )


# ---------------------------------------------------------------- archive, export


def task_archive() -> Iterator[Task]:
    """Write images as OCI archives: archive:RELEASE:IMAGE."""
    yield {"name": None, "doc": "Write images as OCI archives (archive:RELEASE:IMAGE)"}
    yield from _without_lock()
    for plans in _references().values():
        plan = plans[0]
        path = PROJECT.root / "build/archives" / f"{plan.reference.replace(':', '-')}.tar"
        yield {
            "name": f"{plan.release}:{plan.name}",
            "doc": f"Write {plan.reference} to {path.name}",
            "actions": [(run, [_archive, plan, path])],
            "task_dep": _dependencies(plans),
            "uptodate": [False],
            "verbosity": 2,
        }


def _archive(plan: ImagePlan, path: Path) -> None:
    from pipeline.host.archive import write_archive  # noqa: PLC0415

    prefix = PROJECT.declaration.registry.prefix
    full = f"{_prefix(prefix)}/{plan.reference}" if prefix else None
    write_archive(_source(), {plan.reference: full}, path, mtime=plan.epoch)
    say(f"{path}: {human_size(path.stat().st_size)}")


@task_params(_EXPORT_PARAMS)  # type: ignore[untyped-decorator]
def task_export(to: str) -> Task:
    """Write all images as a directory that a web server serves as a registry."""
    dependencies = [name for plans in _references().values() for name in _dependencies(plans)]
    return {
        "actions": [(run, [_export, to])],
        "task_dep": ["build", *dependencies],
        "uptodate": [False],
        "verbosity": 2,
    }


def _export(to: str) -> None:
    from pipeline.stages.export import export  # noqa: PLC0415

    prefix = PROJECT.declaration.registry.prefix
    repository = _prefix(prefix).repository if prefix else str
    targets = [t for plans in _references().values() for t in _targets(plans, repository)]
    directory = PROJECT.root / to
    result = export(_source(), targets, directory)
    written = human_size(result.written)
    say(f"{directory}: {len(result.digests)} images, {written} of blobs written")
