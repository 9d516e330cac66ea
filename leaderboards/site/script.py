"""Data as scripts: what a page may load from a local file, where it may not fetch one."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

#: Significant digits of numbers in data files.
DIGITS = 5


def script(key: str, content: Any) -> str:
    """A line of JavaScript that hands `content` to the page under `key`; the same text for the same content.

    Text from data cannot end the script or the element that it stands in: only ASCII is written, and no ``<``, ``>`` or ``&``.

    >>> script("a", {"y": "</script>", "x": None})
    'pbench.put("a", {"x":null,"y":"\\\\u003c/script\\\\u003e"});\\n'

    Raises
    ------
    ValueError
        A number in `content` is NaN or infinite, which JSON does not know; `number` and `numbers` make it null.
    """
    return f"pbench.put({_json(key)}, {_json(content)});\n"


def _json(content: Any) -> str:
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, sort_keys=True, separators=(",", ":"))
    # As a key of a literal it would set the prototype of the object; a quoted text in a value has a backslash before its quotes.
    text = text.replace('"__proto__":', '["__proto__"]:')
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def number(value: float | None) -> float | int | None:
    """Five significant digits, whole numbers without a point, None for what is no finite number.

    >>> number(0.123456), number(3.0), number(float("nan")), number(-0.0)
    (0.12346, 3, None, 0)
    """
    if value is None or not math.isfinite(value):
        return None
    short = float(f"{value:.{DIGITS}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def numbers(values: Array) -> list[float | None]:
    """`number` of each of (n,) values, quickly; whole numbers keep their point.

    >>> numbers(np.array([0.123456, np.nan, -2.0]))
    [0.12346, None, -2.0]
    """
    values = np.asarray(values, dtype=np.float64)
    known = np.isfinite(values)
    size = np.abs(np.where(known & (values != 0), values, 1.0))
    place = DIGITS - 1 - np.floor(np.log10(size)).astype(np.int64)
    # A power of ten up to 1e22 is exact, and dividing by it gives the double nearest to the short decimal number.
    up, down = 10.0 ** np.clip(place, 0, 22), 10.0 ** np.clip(-place, 0, 22)
    short = (np.round(np.where(known, values, 0.0) * up / down) / up * down + 0.0).tolist()
    if known.all() and (np.abs(place) <= 22).all():
        return short
    return [number(v) if far else s if k else None for v, s, k, far in zip(values, short, known, np.abs(place) > 22, strict=True)]


def interval(mean: float, low: float, high: float) -> dict[str, float | int | None]:
    """A number with its interval, as every data file has it."""
    return {"mean": number(mean), "low": number(low), "high": number(high)}
