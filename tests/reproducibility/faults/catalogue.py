"""The planted faults: what each does, and what the audit has to say about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from reproducibility.causes import Cause


@dataclass(frozen=True, slots=True)
class Fault:
    """One deliberate nondeterminism."""

    name: str
    what: str
    causes: tuple[Cause, ...]
    """Any of these is right; none where no class of causes fits, so that `unknown` is the truth."""
    variations: tuple[str, ...]
    """Those to blame, all of them; none where it differs on every run, whatever is varied."""


FAULTS: Final = (
    Fault("clock", "writes the time of day into a file", (Cause.CLOCK,), ("clock",)),
    Fault("time-zone", "writes a fixed moment in local time", (Cause.TIMEZONE,), ("time-zone",)),
    Fault(
        "directory-order",
        "writes names as os.listdir gives them",
        (Cause.ORDER,),
        ("directory-order",),
    ),
    Fault("locale-sort", "sorts words with strxfrm", (Cause.LOCALE,), ("locale",)),
    Fault("locale-number", "writes a number as the locale does", (Cause.LOCALE,), ("locale",)),
    Fault("locale-month", "writes names of day and month", (Cause.LOCALE,), ("locale",)),
    Fault("hash-order", "writes a set of names", (Cause.HASH_ORDER,), ("hash-seed",)),
    Fault("address", "writes the address of a function", (), ("address-layout",)),
    Fault("build-path", "writes the working directory", (Cause.PATH,), ("build-path",)),
    Fault("home", "writes a path below the home directory", (Cause.PATH,), ("home",)),
    Fault(
        "temporary-directory",
        "writes the directory of temporary files",
        (Cause.PATH,),
        ("temporary-directory",),
    ),
    Fault("temporary-name", "writes the name of a temporary file", (Cause.RANDOM,), ()),
    Fault("host-name", "writes the name of the machine", (Cause.IDENTITY,), ("host-name",)),
    Fault("process-id", "writes its process id", (Cause.IDENTITY,), ("jobs", "process-ids")),
    Fault("random-uuid", "writes a random UUID", (Cause.RANDOM,), ()),
    Fault("user-name", "writes $USER", (Cause.IDENTITY,), ("environment",)),
    Fault("search-path", "writes $PATH", (Cause.PATH,), ("search-path",)),
    Fault("python-version", "writes Python's version", (Cause.IDENTITY,), ("python",)),
    Fault("terminal", "writes whether there is a terminal", (), ("terminal",)),
    Fault("kernel", "writes the kernel's release", (), ("kernel",)),
    Fault("worker-name", "writes the name of its worker process", (), ("jobs",)),
    Fault("warm-store", "writes whether the store was warm", (), ("store",)),
    Fault("task-order", "writes how many trees came before", (), ("jobs", "task-order")),
    Fault("processors", "writes the number of processors", (), ("cpus",)),
    Fault(
        "thread-race",
        "writes the results of threads as they finish",
        (Cause.HASH_ORDER, Cause.ORDER),
        (),
    ),
    Fault("owner", "gives a file to whoever builds", (Cause.OWNER,), ("user",)),
    Fault("umask", "lets the umask decide a mode", (Cause.MODE,), ("umask",)),
    Fault("mtime", "does not clamp an mtime", (Cause.MTIME,), ("clock",)),
    Fault("link-target", "links to a path of the build", (Cause.LINK,), ("build-path",)),
    Fault("presence", "adds a file where $CI is set", (Cause.PRESENCE,), ("environment",)),
    Fault(
        "sqlite-order",
        "inserts rows in the order of a hash table",
        (Cause.HASH_ORDER, Cause.ORDER, Cause.DATABASE_LAYOUT),
        ("hash-seed",),
    ),
    Fault("sqlite-row", "records when a package was installed", (Cause.CLOCK,), ("clock",)),
    Fault(
        "sqlite-wal",
        "leaves a database in WAL mode on a tmpfs",
        (Cause.DATABASE_LAYOUT,),
        ("file-system",),
    ),
    Fault(
        "tar-order",
        "writes tar entries as os.listdir gives them",
        (Cause.ORDER,),
        ("directory-order",),
    ),
    Fault(
        "hard-link-order",
        "lets a hash table say which name is the file",
        (Cause.LINK, Cause.ORDER),
        ("hash-seed",),
    ),
    Fault(
        "tar-owner",
        "writes $LOGNAME into tar headers",
        (Cause.OWNER, Cause.ENCODING),
        ("environment",),
    ),
    Fault("zstd-level", "listens to $ZSTD_CLEVEL", (Cause.COMPRESSOR,), ("environment",)),
    Fault(
        "gzip-header", "writes the time of day into gzip's header", (Cause.COMPRESSOR,), ("clock",)
    ),
    Fault("gzip-pieces", "compresses one piece a processor", (Cause.COMPRESSOR,), ("cpus",)),
    Fault(
        "json-key-order",
        "writes JSON keys in the order of a hash table",
        (Cause.HASH_ORDER, Cause.ORDER),
        ("hash-seed",),
    ),
    Fault("config-created", "writes today into a config's `created`", (Cause.CLOCK,), ("clock",)),
    Fault(
        "label-set-order",
        "joins a set into a label",
        (Cause.HASH_ORDER, Cause.ORDER),
        ("hash-seed",),
    ),
    Fault("sbom-created", "writes the time of day into an SBOM", (Cause.CLOCK,), ("clock",)),
    Fault(
        "sbom-order",
        "lists components of an SBOM in the order of a hash table",
        (Cause.HASH_ORDER, Cause.ORDER),
        ("hash-seed",),
    ),
    Fault(
        "provenance-path",
        "writes the working directory into provenance",
        (Cause.PATH,),
        ("build-path",),
    ),
    Fault(
        "provenance-host",
        "writes the name of the machine into provenance",
        (Cause.IDENTITY,),
        ("host-name",),
    ),
    Fault("lock-created", "writes today into a lock's manifest", (Cause.CLOCK,), ("clock",)),
)
"""In the order of the table in docs/audit-faults.md."""
