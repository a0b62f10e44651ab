"""Lines that language settings write differently.

Left out: translated messages. Recognised: names of months and days (Estonian and Turkish, which
reproducibility tests use, against English), the dotless i of Turkish case mapping.
"""

from __future__ import annotations

import re
from typing import Final


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ENGLISH: Final = _words(
    "jan feb mar apr may jun jul aug sep oct nov dec january february march april june july august"
    " september october november december mon tue wed thu fri sat sun monday tuesday wednesday"
    " thursday friday saturday sunday"
)
_OTHERS: Final = _words(
    "jaan veebr märts mai juuni juuli sept okt nov dets jaanuar veebruar aprill august september"
    " oktoober november detsember esmaspäev teisipäev kolmapäev neljapäev reede laupäev pühapäev"
    " oca şub nis haz tem ağu eyl eki kas ara ocak şubat mart nisan mayıs haziran temmuz ağustos"  # noqa: RUF001
    " eylül ekim kasım aralık pzt sal çar per cum cmt paz pazartesi salı çarşamba perşembe cuma"  # noqa: RUF001
    " cumartesi pazar"
)
_WORD_RE: Final = re.compile(r"[^\W\d_]+")
_DOTS: Final = str.maketrans({"ı": "i", "İ": "i", "I": "i"})  # noqa: RUF001
_DOTTED: Final = frozenset("ıİ")


def explain_language(a: str, b: str) -> str | None:
    """Say what two lines differ in if it is the language; None if it is not."""
    if (_DOTTED & set(a + b)) and _undotted(a) == _undotted(b):
        return "dotless i, as Turkish case mapping makes it"
    names_a, names_b = _names(a), _names(b)
    for here, there in ((names_a, names_b), (names_b, names_a)):
        if here & (_OTHERS - _ENGLISH) and there & _ENGLISH:
            return "names of days or months in two languages"
    return None


def _undotted(text: str) -> str:
    return text.translate(_DOTS).casefold().replace("\u0307", "")


def _names(text: str) -> frozenset[str]:
    return frozenset(word.casefold() for word in _WORD_RE.findall(text)) & (_ENGLISH | _OTHERS)
