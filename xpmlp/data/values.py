"""What the cells of a table say: numbers as people write them, dates, and nothing at all."""

import re
from collections.abc import Sequence
from datetime import datetime

import numpy as np

from xpmlp.data.dataset import Array

MISSING = frozenset(
    (
        "",
        "?",
        "-",
        "--",
        ".",
        "NA",
        "N/A",
        "n/a",
        "na",
        "#N/A",
        "<NA>",
        "NaN",
        "nan",
        "-nan",
        "NULL",
        "null",
        "Null",
        "None",
        "none",
        "missing",
        "Missing",
    )
)
"""Cells of features that hold no value."""

NO_LABEL = frozenset(("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null"))
"""The same for labels, of which "none" may be one."""

_PAIRS = ("yes no", "true false", "t f", "y n", "on off", "ja nein", "1 0", "1.0 0.0")
YES = {word: 1 - place for pair in _PAIRS for place, word in enumerate(pair.split())}
"""Yes and no as people write them, in lower case."""

_PLAIN = re.compile(r"(?![-+]?0\d)[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_ZEROS = re.compile(r"[-+]?0\d")
"""A code rather than a number: 02134, 007."""

_MONEY = r"[$€£¥₹]|USD|EUR|GBP|CHF|JPY"
_WRITTEN = re.compile(
    rf"(?P<minus>[-+\u2212]?)\s*(?:{_MONEY})?\s*(?P<minus2>[-+\u2212]?)"
    rf"(?P<digits>\d[\d.,' \u00a0\u2009\u202f]*|[.,]\d+)(?P<power>[eE][-+]?\d+)?"
    rf"\s*(?P<unit>%|{_MONEY})?"
)
_GROUPS = {
    mark: re.compile(rf"\d{{1,3}}([{others}]\d{{3}})+(\{mark}\d+)?")
    for mark, others in ((".", ",' \u00a0\u2009\u202f"), (",", ".' \u00a0\u2009\u202f"))
}
"""Digits in groups of three, by decimal mark."""

_ISO = re.compile(r"\d{4}-\d\d(-\d\d([ T]\d\d:\d\d(:\d\d(\.\d+)?)?)?)?")
_FORMATS = (
    *("%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y", "%Y/%m/%d", "%Y.%m.%d", "%d-%b-%Y"),
    *("%d %b %Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y", "%m/%d/%y", "%d.%m.%y"),
)
_TIMES = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")


def is_plain(text: str) -> bool:
    """Whether a text is a number as programs write it; codes such as 02134 are not."""
    return _PLAIN.fullmatch(text) is not None


def decimal_mark(texts: Sequence[str]) -> str | None:
    """Return the decimal mark of some numbers; None if they do not show it: ``1,234``, ``5``."""
    for text in texts:
        match = _WRITTEN.fullmatch(text.strip())
        if match is None or _ZEROS.match(text) or not ({".", ","} & set(match["digits"])):
            continue
        digits, last = match["digits"], max(match["digits"].rfind("."), match["digits"].rfind(","))
        grouped = _GROUPS["."].fullmatch(digits) or _GROUPS[","].fullmatch(digits)
        if digits.count(digits[last]) == 1 and (not grouped or {".", ","} <= set(digits)):
            return digits[last]
    return None


def numbers(texts: Sequence[str], decimal: str = ".") -> Array:
    """Return texts as float64, and NaN for those that are not finite numbers.

    Read are thousands in groups (``1,234.50``, ``1'234``), amounts (``$5``, ``12 €``), shares
    (``12 %`` is 12) and, with ``decimal=","``, ``1.234,50``. Codes with leading zeros are no
    numbers.
    """
    values = np.empty(len(texts))
    for i, text in enumerate(texts):
        values[i] = float(text) if decimal == "." and is_plain(text) else _number(text, decimal)
    values[np.isinf(values)] = np.nan
    return values


def _number(text: str, decimal: str) -> float:
    text = text.strip()
    negative = text.startswith("(") and text.endswith(")")  # as accountants write it
    match = _WRITTEN.fullmatch(text[1:-1] if negative else text)
    if match is None:
        return np.nan
    digits = match["digits"].strip()
    if _GROUPS[decimal].fullmatch(digits):
        digits = re.sub(rf"[^\d\{decimal}]", "", digits)
    elif decimal == "," and "." in digits:
        return np.nan
    digits = digits.replace(decimal, ".")
    if not is_plain(digits):
        return np.nan
    minus = (match["minus"] + match["minus2"]).replace("+", "")
    if len(minus) > 1:
        return np.nan
    value = float(digits + (match["power"] or ""))
    return -value if minus or negative else value


def dates(texts: Sequence[str]) -> tuple[Array, str] | None:
    """Return texts as datetime64[us], and their form in words; None if some are not dates.

    Where day and month cannot be told apart, the month is first.
    """
    if not texts or sum(map(str.isdigit, texts[0])) < 4:  # 1/2/24 has the fewest
        return None
    if all(map(_ISO.fullmatch, texts)):
        try:
            return np.array(texts, dtype="datetime64[us]"), "year-month-day"
        except ValueError:
            return None
    for form in (day + time for day in _FORMATS for time in _TIMES):
        try:
            made = [datetime.strptime(text, form) for text in texts]
        except ValueError:
            continue
        words = re.sub(r"%[a-zA-Z]", lambda part: _WORDS[part[0]], form)
        return np.array(made, dtype="datetime64[us]"), words
    try:
        made = [datetime.fromisoformat(text).replace(tzinfo=None) for text in texts]
    except ValueError:
        return None
    if any(text.isdigit() for text in texts):  # 20240102 may be a number
        return None
    return np.array(made, dtype="datetime64[us]"), "year-month-day"


_WORDS = {
    "%Y": "year",
    "%y": "year",
    "%m": "month",
    "%b": "month",
    "%B": "month",
    "%d": "day",
    "%H": "hour",
    "%I": "hour",
    "%M": "minute",
    "%S": "second",
    "%p": "am/pm",
}
