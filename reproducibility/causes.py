"""Cause classes: why two builds of one thing differ.

The names are stable: they stand in reports, in CI rules and in `--ignore`.
"""

from __future__ import annotations

import enum
from typing import Final


class Cause(enum.StrEnum):
    """Why something differs."""

    MTIME = "mtime"
    ORDER = "order"
    MODE = "mode"
    OWNER = "owner"
    FLAGS = "flags"
    XATTR = "xattr"
    LINK = "link"
    TYPE = "type"
    PRESENCE = "presence"
    LAYERING = "layering"
    COMPRESSOR = "compressor"
    ENCODING = "encoding"
    CLOCK = "clock-in-content"
    TIMEZONE = "timezone"
    PATH = "path-in-content"
    IDENTITY = "identity-in-content"
    RANDOM = "random"
    LOCALE = "locale"
    HASH_ORDER = "hash-order"
    DATABASE_ROW = "database-row"
    DATABASE_LAYOUT = "database-layout"
    CONFIGURATION = "configuration"
    CONSEQUENCE = "consequence"
    UNKNOWN = "unknown"


MEANING: Final = {
    Cause.MTIME: "the modification time of an entry",
    Cause.ORDER: "the same things in another order: entries of a tar, names of a listing, rows",
    Cause.MODE: "permission bits of an entry, as a umask leaves them",
    Cause.OWNER: "user or group of an entry",
    Cause.FLAGS: "file flags (schg, uarch, …) of an entry",
    Cause.XATTR: "extended attributes, ACLs or other extra metadata of an entry",
    Cause.LINK: "the target of a link, or which names are one hard-linked file",
    Cause.TYPE: "a file on one side, something else on the other",
    Cause.PRESENCE: "there on one side only",
    Cause.LAYERING: "the same files, cut into layers in another way",
    Cause.COMPRESSOR: "equal when decompressed: another algorithm, level, library or header",
    Cause.ENCODING: "equal values, written differently: tar dialect, padding, JSON white space",
    Cause.CLOCK: "a time of day or date inside the content",
    Cause.TIMEZONE: "the same moment, written in two time zones",
    Cause.PATH: "a path of the build machine inside the content",
    Cause.IDENTITY: "a host, user or process of the build machine inside the content",
    Cause.RANDOM: "random values inside the content: UUIDs, temporary names",
    Cause.LOCALE: "what depends on the language settings: collation, decimal signs, names of days",
    Cause.HASH_ORDER: "the same things in an order that looks like a hash table's",
    Cause.DATABASE_ROW: "a row or key of a database",
    Cause.DATABASE_LAYOUT: "equal rows, other bytes: page layout, counters, journal mode",
    Cause.CONFIGURATION: "a field of the image's own documents: environment, labels, commands",
    Cause.CONSEQUENCE: "a digest or size that follows from another difference",
    Cause.UNKNOWN: "no pattern explains it; the excerpt shows it",
}
"""One line of text for each class."""

REMEDY: Final = {
    Cause.MTIME: "clamp the time to SOURCE_DATE_EPOCH",
    Cause.ORDER: "sort by bytes where the things are emitted",
    Cause.MODE: "set modes explicitly instead of inheriting the umask",
    Cause.OWNER: "write numeric owners from the image's own accounts",
    Cause.FLAGS: "declare the flags, or drop them",
    Cause.XATTR: "drop attributes that nobody declared",
    Cause.LINK: "keep hard links as the package has them; write relative targets verbatim",
    Cause.TYPE: "find out which step replaces the entry",
    Cause.PRESENCE: "compare the inputs: one build saw something that the other did not",
    Cause.LAYERING: "compare the declarations; flatten both to compare only files",
    Cause.COMPRESSOR: "pin library and level; compare diff_ids in the meantime",
    Cause.ENCODING: "use one writer, or compare what is written and not how",
    Cause.CLOCK: "take the time from SOURCE_DATE_EPOCH",
    Cause.TIMEZONE: "write times in UTC",
    Cause.PATH: "map build paths away (-ffile-prefix-map), or write relative paths",
    Cause.IDENTITY: "leave the builder's identity out",
    Cause.RANDOM: "derive identifiers from the content",
    Cause.LOCALE: "run with LC_ALL=C, sort by bytes",
    Cause.HASH_ORDER: "sort before iterating over a set or a hash table",
    Cause.DATABASE_ROW: "see the row: a time, a path or an order may be behind it",
    Cause.DATABASE_LAYOUT: "rebuild the database from its rows in a fixed order",
    Cause.CONFIGURATION: "compare declarations and builders",
    Cause.CONSEQUENCE: "mend the difference it follows from",
    Cause.UNKNOWN: "read the excerpt",
}
"""What usually helps."""
