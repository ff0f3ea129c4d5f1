"""Lines of many arms in one panel: four arms are in colour, the others are thin and grey."""

from collections.abc import Sequence

from muonlab.report.style import ArmStyle, arm_styles

MANY = 6  # up to this many arms can be distinguished by colours, dashes and a legend
PALE = "#a7afb8"
COLOURED = 4  # arms of a crowd that are in colour
FIRST = ("adamw", "muon", "muon_hybrid")  # those that a reader looks for


def is_crowd(arms: Sequence[dict]) -> bool:
    return len(arms) > MANY


def main_arms(arms: Sequence[dict]) -> list[str]:
    """The arms of a crowd that are in colour: AdamW, Muon and its hybrid, then other tuned arms,
    those with a search of their own last."""
    tuned = [arm for arm in arms if arm.get("tuned", True)]
    named = [arm["name"] for arm in arms if arm["name"] in FIRST]
    named += [arm["name"] for arm in sorted(tuned, key=lambda arm: bool(arm.get("alone")))]
    return list(dict.fromkeys(named))[:COLOURED]


def line_styles(arms: Sequence[dict]) -> dict[str, ArmStyle]:
    """`arm_styles`; in a crowd only the main arms are in colour, drawn above the others, which
    become thin grey lines that keep their dashes."""
    styles = arm_styles(arms)
    if not is_crowd(arms):
        return styles
    main = main_arms(arms)
    styles |= arm_styles([arm for arm in arms if arm["name"] in main])
    for arm in arms:
        if arm["name"] in main:
            styles[arm["name"]]["zorder"] = 3
        else:
            styles[arm["name"]] |= {"color": PALE, "linewidth": 0.7, "zorder": 2, "alpha": 0.75}
    return styles


def legend_styles(arms: Sequence[dict]) -> dict[str, ArmStyle]:
    """`line_styles` for figures with a legend: the grey lines of a crowd share one entry."""
    styles = line_styles(arms)
    others = sum(style.colour == PALE for style in styles.values())
    name = f"{others} other arms" if others > 1 else "other arm"
    for style in styles.values():
        if style.colour == PALE:
            style["label"], name = name, "_other"
    return styles
