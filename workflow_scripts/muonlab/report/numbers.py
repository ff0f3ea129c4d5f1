"""How numbers are printed everywhere: three significant digits, one minus sign, intervals in
brackets."""

import numpy as np

MINUS, NONE = "−", "—"  # the sign of Unicode, and what stands where there is no number
MOST = 6  # digits, where fewer would print an interval and its value alike


def number(value: float, digits: int = 3, sign: bool = False) -> str:
    """`value` with significant digits: "0.142", "−5.84", "+12.3" with `sign`, "—" for NaN."""
    if value is None or np.isnan(value):
        return NONE
    if np.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    size = abs(value)
    if size and not 1e-4 <= size < 1e6:
        text = f"{value:{'+' if sign else ''}.{digits}g}"
    else:
        text = f"{value:{'+' if sign else ''}.{_places(size, digits)}f}"
    return text.replace("-", MINUS)


def interval(value: float, low: float, high: float, sign: bool = False) -> str:
    """`value [low, high]` with three digits, or with more (up to six) until all three differ. What
    has no interval is printed without one."""
    if not (np.isfinite(low) or np.isfinite(high)):
        return number(value, sign=sign)
    for digits in range(3, MOST + 1):
        texts = [number(each, digits) for each in (low, value, high)]
        if len(set(texts)) == 3:
            break
    return f"{number(value, digits, sign)} [{texts[0]}, {texts[2]}]"


def _places(size: float, digits: int) -> int:
    """Digits behind the point, so that there are `digits` significant ones but no more behind the
    point than the number needs."""
    if size == 0:
        return 0
    return max(0, digits - 1 - int(np.floor(np.log10(size) + 1e-12)))
