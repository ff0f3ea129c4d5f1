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
    size, plus = abs(value), "+" if sign and value else ""
    if size and not 1e-6 <= size < 1e6:
        text = f"{value:{plus}.{digits}g}"
    else:
        text = f"{value:{plus}.{_places(size, digits)}f}"
    return text.replace("-", MINUS)


def interval(value: float, low: float, high: float, sign: bool = False, digits: int = 3) -> str:
    """`value [low, high]`, all with the decimals that give the largest of them `digits` digits, or
    with more until all three differ. What has no interval is printed without one."""
    if np.isnan(value) or not (np.isfinite(low) or np.isfinite(high)):
        return number(value, digits, sign)
    size = max(abs(each) for each in (value, low, high) if np.isfinite(each))
    if size and not 1e-4 <= size < 1e6:
        texts = [number(each, digits) for each in (value, low, high)]
    else:
        for many in range(digits, MOST + 1):
            places = _places(size, many)
            texts = [_fixed(each, places) for each in (value, low, high)]
            if len(set(texts)) == 3 or value in (low, high):
                break
    plus = "+" if sign and value > 0 else ""
    return f"{plus}{texts[0]} [{texts[1]}, {texts[2]}]"


def _fixed(value: float, places: int) -> str:
    """`value` with decimals; where it would become 0 it keeps one significant digit, since its sign
    decides."""
    if not np.isfinite(value):
        return number(value)
    if value and abs(value) < 0.5 * 10.0**-places:
        return number(value, 1)
    return f"{value:.{places}f}".replace("-", MINUS)


def _places(size: float, digits: int) -> int:
    """Digits behind the point, so that there are `digits` significant ones but no more behind the
    point than the number needs."""
    if size == 0:
        return 0
    return max(0, digits - 1 - int(np.floor(np.log10(size) + 1e-12)))
