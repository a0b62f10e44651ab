"""The process that reads and builds what others have written: `python -m … check|build SITE`.

It knows nothing but a directory, the site, that the parent has made (`verify_build`):

    images.toml, images.lock.json    the claim
    order.json                       what to build of it
    store/                           the archives
    oci/                             the layout it makes
    progress                         lines that say what goes on
    result.json                      what came of it

The parent believes none of it without looking.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pipeline.errors import PipelineError
from pipeline.formats import canonical_json
from pipeline.formats.fields import get_required, get_sequence_of
from pipeline.host.layout import PublishedLayout
from pipeline.host.store import Store
from pipeline.stages.build import build
from pipeline.stages.image import make_index
from reproducibility.verify_claim import Sources, parse_claim
from reproducibility.wording import size_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pipeline.host.store import Blob
    from reproducibility.verify_claim import Claim

DECLARATION: Final = "images.toml"
LOCK: Final = "images.lock.json"
ORDER: Final = "order.json"
STORE: Final = "store"
LAYOUT: Final = "oci"
PROGRESS: Final = "progress"
RESULT: Final = "result.json"

CHECK: Final = "check"
BUILD: Final = "build"
CHECK_MEMORY: Final = 1 << 30
"""Bytes of address space for reading a claim."""
BUILD_MEMORY: Final = 8 << 30
"""The same for building it; what threads reserve counts as well."""

_FAILED: Final = 1
_GLANCE: Final = 0.5
"""Seconds between two looks at what has been written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to build."""

    images: tuple[str, ...]
    """As `release:architecture:image`."""
    is_index: bool
    limit: int
    """Bytes that may be written at the most."""

    def to_bytes(self) -> bytes:
        """Encode."""
        return canonical_json.dumps(
            {"images": list(self.images), "index": self.is_index, "limit": self.limit}
        )

    @classmethod
    def parse(cls, data: bytes) -> Order:
        """Read; the inverse."""
        d = canonical_json.loads_object(data)
        return cls(
            images=get_sequence_of(d, str, "images"),
            is_index=get_required(d, bool, "index"),
            limit=get_required(d, int, "limit"),
        )


def _read_claim(site: Path) -> Claim:
    return parse_claim(
        Sources(
            origin="",
            declaration=(site / DECLARATION).read_bytes(),
            lock=(site / LOCK).read_bytes(),
            target=None,
            artifact=None,
        )
    )


def _build(site: Path, say: Callable[[str], object]) -> None:
    claim = _read_claim(site)
    order = Order.parse((site / ORDER).read_bytes())
    store = Store(site / STORE)
    layout = PublishedLayout(site / LAYOUT, store=store)
    plans = [claim.plan.images[name] for name in order.images]
    manifests = []
    for plan in plans:
        image = build(plan, claim.declaration, store=store, say=say).image
        layout.publish(f"{plan.reference}-{plan.architecture}", image.manifest, image.blobs)
        manifests.append(image.manifest)
    if order.is_index:
        raw, descriptor = make_index(plans, claim.declaration, manifests)
        blob: Blob = store.put(raw)
        layout.publish(plans[0].reference, descriptor, [blob])


def _note(site: Path) -> Callable[[str], object]:
    def say(text: str) -> None:
        with (site / PROGRESS).open("a", encoding="utf-8") as f:
            f.write(f"{text}\n")

    return say


def run(mode: str, site: Path) -> tuple[str, str | None]:
    """Do it; return what was wrong and a hint, or nothing."""
    try:
        if mode == CHECK:
            _read_calmly(site)
        else:
            _build(site, _note(site))
    except PipelineError as e:
        return str(e), e.hint
    except OSError as e:
        return (e.strerror or "i/o error").lower(), None
    except MemoryError:
        return "takes too much memory", None
    return "", None


def _read_calmly(site: Path) -> None:
    """Find out whether a claim can be read without harm; what it says is of no interest here."""
    with contextlib.suppress(PipelineError):
        _read_claim(site)


def main(arguments: Sequence[str]) -> int:
    """Do what the parent says; return the exit status."""
    mode, site = arguments[0], Path(arguments[1])
    memory = CHECK_MEMORY if mode == CHECK else BUILD_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    if mode == BUILD:
        limit = Order.parse((site / ORDER).read_bytes()).limit
        threading.Thread(target=_watch, args=(site, limit), name="limit", daemon=True).start()
    error, hint = run(mode, site)
    _tell(site, error, hint)
    return _FAILED if error else 0


def _tell(site: Path, error: str, hint: str | None) -> None:
    (site / RESULT).write_text(json.dumps({"error": error, "hint": hint}), "utf-8")


def _watch(site: Path, limit: int) -> None:
    """End the process when it has written too much: archives can be packed to grow without end."""
    while True:
        with contextlib.suppress(OSError):  # something was renamed or removed meanwhile
            if sum(path.lstat().st_size for path in site.rglob("*")) > limit:
                _tell(site, f"writes more than {size_text(limit)}", "allow more: --limit SIZE")
                os._exit(_FAILED)
        time.sleep(_GLANCE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
