"""Moments in time as programs write them: found in text, and told apart.

Recognised: ISO 8601 with its many separators, RFC 2822, asctime(3), date(1), C's `__DATE__`, dates
with slashes, compact dates, ASN.1 times, times of day, and seconds (also milli- and nanoseconds)
since the epoch between 2001 and 2064.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from reproducibility.causes import Cause

_MONTH_NAMES: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov")
_MONTHS: Final = {name: i for i, name in enumerate((*_MONTH_NAMES, "dec"), 1)}
_DAY: Final = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*"
_MONTH: Final = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*"
_CLOCK: Final = r"\d{2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?"
_ZONE: Final = r"(?:Z\b|[+-]\d{2}:?\d{2}\b|[A-Z]{3,5}\b)"

TIME: Final = "|".join(
    (
        rf"(?<!\d)\d{{4}}-\d{{2}}-\d{{2}}(?:[T _-]{_CLOCK}(?:\s?{_ZONE})?)?(?!\d)",
        rf"(?<!\d)\d{{4}}/\d{{2}}/\d{{2}}(?:[ -]{_CLOCK})?(?!\d)",
        rf"\b{_DAY},? {_MONTH} +\d{{1,2}},? {_CLOCK}(?: {_ZONE})? \d{{4}}\b",
        rf"\b(?:{_DAY}, )?\d{{1,2}} {_MONTH} \d{{4}}(?: {_CLOCK}(?: {_ZONE})?)?",
        rf"\b{_MONTH} +\d{{1,2}},? \d{{4}}\b(?: {_CLOCK})?",
        r"(?<!\w)(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:[T-]?\d{6}Z?)?(?!\w)",
        r"(?<!\d)\d{12}Z",
        r"(?<!\w)[12]\d{9}(?:\.\d+)?(?![\w.])",
        r"(?<!\w)[12]\d{12}(?!\w)",
        r"(?<!\w)[12]\d{18}(?!\w)",
        rf"(?<![\d:]){_CLOCK}(?![\d:])",
    )
)
"""Pattern of anything that is a moment."""

_ISO_RE: Final = re.compile(rf"(\d{{4}})[-/](\d{{2}})[-/](\d{{2}})(?:.({_CLOCK})\s?({_ZONE})?)?")
_NAMED_RE: Final = re.compile(
    rf"(?:{_DAY},? )?(?:(?P<d1>\d{{1,2}}) )?(?P<month>{_MONTH})(?: +(?P<d2>\d{{1,2}}),?)?"
    rf"(?: (?P<y1>\d{{4}}))?(?: (?P<clock>{_CLOCK}))?(?: (?P<zone>{_ZONE}))?(?: (?P<y2>\d{{4}}))?"
)
_COMPACT_RE: Final = re.compile(r"(\d{4})(\d{2})(\d{2})(?:[T-]?(\d{2})(\d{2})(\d{2}))?(Z?)")
_ASN1_RE: Final = re.compile(r"(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z")
_NUMBER_RE: Final = re.compile(r"([12]\d{9})(?:\.\d+|\d{3}|\d{9})?")
_CLOCK_RE: Final = re.compile(r"(\d{2}):(\d{2})(?::(\d{2}))?")

_QUARTER: Final = 900
_ZONES_SPAN: Final = 26 * 3600
"""From UTC-12 to UTC+14."""
_DAY_SECONDS: Final = 86400
_PIVOT: Final = 50


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment as it is written."""

    seconds: int
    """Since the epoch as if the text were UTC; since midnight for a time of day."""
    zone: int | None
    """Seconds east of UTC where the text says so."""
    zone_name: str
    has_clock: bool
    is_date: bool


def parse_moment(text: str) -> Moment | None:
    """Read text that `TIME` matches; None if no calendar has that moment."""
    for parse in (_iso, _compact, _asn1, _number, _named, _clock_only):
        moment = parse(text)
        if moment is not None:
            return moment
    return None


def _civil(year: int, month: int, day: int) -> int | None:
    if not (1 <= month <= 12 and 1 <= day <= 31 and year > 0):  # noqa: PLR2004
        return None
    y = year - (month <= 2)  # noqa: PLR2004
    era_day = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1  # noqa: PLR2004
    return (365 * y + y // 4 - y // 100 + y // 400 + era_day - 719_468) * _DAY_SECONDS


def _seconds(clock: str | None) -> int:
    match = _CLOCK_RE.match(clock or "")
    if match is None:
        return 0
    return 3600 * int(match[1]) + 60 * int(match[2]) + int(match[3] or 0)


def _zone(text: str | None) -> int | None:
    if not text:
        return None
    if text in ("Z", "UTC", "GMT"):
        return 0
    digits = text[1:].replace(":", "")
    if text[0] in "+-" and digits.isdigit():
        value = 3600 * int(digits[:2]) + 60 * int(digits[2:])
        return -value if text[0] == "-" else value
    return None


def _moment(day: int | None, clock: str | None, zone: str | None) -> Moment | None:
    if day is None:
        return None
    return Moment(
        seconds=day + _seconds(clock),
        zone=_zone(zone),
        zone_name=zone or "",
        has_clock=bool(clock),
        is_date=True,
    )


def _iso(text: str) -> Moment | None:
    match = _ISO_RE.fullmatch(text)
    if match is None:
        return None
    return _moment(_civil(int(match[1]), int(match[2]), int(match[3])), match[4], match[5])


def _compact(text: str) -> Moment | None:
    match = _COMPACT_RE.fullmatch(text)
    if match is None:
        return None
    clock = f"{match[4]}:{match[5]}:{match[6]}" if match[4] else None
    return _moment(_civil(int(match[1]), int(match[2]), int(match[3])), clock, match[7])


def _asn1(text: str) -> Moment | None:
    match = _ASN1_RE.fullmatch(text)
    if match is None:
        return None
    year = int(match[1]) + (1900 if int(match[1]) >= _PIVOT else 2000)
    clock = f"{match[4]}:{match[5]}:{match[6]}"
    return _moment(_civil(year, int(match[2]), int(match[3])), clock, "Z")


def _number(text: str) -> Moment | None:
    match = _NUMBER_RE.fullmatch(text)
    if match is None:
        return None
    return Moment(int(match[1]), 0, "", has_clock=True, is_date=True)


def _named(text: str) -> Moment | None:
    match = _NAMED_RE.fullmatch(text)
    if match is None:
        return None
    day, year = match["d1"] or match["d2"], match["y1"] or match["y2"]
    if day is None or year is None:
        return None
    month = _MONTHS[match["month"][:3].lower()]
    return _moment(_civil(int(year), month, int(day)), match["clock"], match["zone"])


def _clock_only(text: str) -> Moment | None:
    if _CLOCK_RE.match(text) is None:
        return None
    return Moment(_seconds(text), None, "", has_clock=True, is_date=False)


def explain_moments(a: str, b: str) -> tuple[Cause, str]:
    """Say why two moments differ, and how far apart they are."""
    x, y = parse_moment(a), parse_moment(b)
    if x is None or y is None or x.is_date != y.is_date:
        return Cause.CLOCK, "two moments"
    distance = y.seconds - x.seconds
    if x.zone is not None and y.zone is not None:
        real = distance - (y.zone - x.zone)
        if not real and (x.zone != y.zone or x.zone_name != y.zone_name):
            return Cause.TIMEZONE, "the same moment in two time zones"
        distance = real
    elif x.zone_name != y.zone_name and abs(distance) <= _ZONES_SPAN:
        return (
            Cause.TIMEZONE,
            f"time zones {x.zone_name or 'unnamed'} and {y.zone_name or 'unnamed'}",
        )
    elif x.has_clock and y.has_clock and _is_zone_shift(distance):
        return Cause.TIMEZONE, f"exactly {format_distance(distance)} apart, as time zones are"
    if not distance:
        return Cause.CLOCK, "the same moment, written differently"
    return Cause.CLOCK, f"{format_distance(distance)} apart"


def _is_zone_shift(distance: int) -> bool:
    return bool(distance) and distance % _QUARTER == 0 and abs(distance) <= _ZONES_SPAN


def format_distance(seconds: int) -> str:
    """Write a time span for people: `3 h 12 min`, `2 y 4 d`."""
    left = abs(seconds)
    if not left:
        return "0 s"
    parts = []
    for size, unit in ((31_557_600, "y"), (86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])
