"""One look for all figures: colours by optimizer, sizes, footnotes, and how they are saved."""

import json
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import wrap

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import seaborn as sns
import typst
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from muonlab.io.atomic import replacing

# Okabe and Ito's palette can be distinguished with any common colour blindness. Each arm also has a
# dash pattern and a marker, so that a figure can be read in black and white.
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
)
COLOURS = {"adamw": BLUE, "muon": VERMILION, "muon_hybrid": GREEN}
OTHERS = (PURPLE, ORANGE, SKY, BLACK)
DASHES = ((1, 0), (5, 1.5), (1.5, 1.5), (6, 1.5, 1.5, 1.5), (3, 1), (8, 2))
MARKERS = ("o", "s", "D", "^", "v", "P")
MUTED = "#5b6470"
PPI = 200  # pixels per inch of a PNG
NOTE_LETTERS = 16.5  # of a note, per inch


def use_style() -> None:
    """Sets matplotlib's and seaborn's defaults; call it before a figure is made."""
    sns.set_theme(style="whitegrid", context="paper", font="DejaVu Sans")
    plt.rcParams.update(
        {
            "figure.dpi": 100,
            "axes.edgecolor": "#9aa3ad",
            "axes.linewidth": 0.8,
            "axes.titleweight": "bold",
            "axes.titlesize": 10,
            "axes.titlelocation": "left",
            # Nothing lies above the axes, so matplotlib need not look for a free height.
            "axes.titley": 1.0,
            "axes.labelsize": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "grid.color": "#e3e7eb",
            "grid.linewidth": 0.7,
            "xtick.labelsize": 8,
            "ytick.labelsize": 8,
            "legend.fontsize": 8.5,
            "legend.frameon": False,
            "lines.linewidth": 1.8,
            "svg.hashsalt": "muonlab",
            "svg.fonttype": "path",
            "pdf.fonttype": 42,
        }
    )


class ArmStyle(dict):
    """Keyword arguments of a line: colour, dashes, marker and label of one arm."""

    @property
    def colour(self) -> str:
        return self["color"]


def arm_styles(arms: Sequence[dict]) -> dict[str, ArmStyle]:
    """A style for each arm (records with `name` and `label`), stable for the known optimizers."""
    spare = iter(OTHERS * (1 + len(arms) // len(OTHERS)))
    styles = {}
    for i, arm in enumerate(arms):
        colour = COLOURS.get(arm["name"]) or next(spare)
        styles[arm["name"]] = ArmStyle(
            color=colour,
            linestyle=(0, DASHES[i % len(DASHES)]),
            marker=MARKERS[i % len(MARKERS)],
            label=arm["label"],
        )
    return styles


def finish(figure: Figure, title: str, notes: Iterable[str], tight: bool = True) -> None:
    """Adds the title above the figure, and below it the notes: data, seeds, intervals, warnings.
    With `tight` the axes fill the room between. A note that is wider than the figure is broken."""
    width = int(NOTE_LETTERS * figure.get_figwidth())
    text = "\n".join(line for note in notes for line in wrap(note, width) or [""])
    said = figure.text(0.012, 1, title, va="top", fontsize=11.5, fontweight="bold")
    legend = _below_title(figure, said)
    height, lines = figure.get_figheight(), text.count("\n") + 1
    said.set_y(1 - 0.06 / height)
    figure.text(0.012, 0.06 / height, text, va="bottom", fontsize=7.5, color=MUTED)
    if not tight:
        return
    fit_axes(figure, below=(0.12 + 0.13 * lines) / height, above=(0.26 + legend) / height)


def fit_axes(figure: Figure, below: float, above: float) -> None:
    """What `tight_layout` does with a rect that leaves free `below` and `above`, as parts of the
    figure's height. Matplotlib would measure all labels twice for it, which takes longer than any
    other part of a figure; here it fits the axes into the whole figure, and they are then made
    lower, with the same gaps between them. As Matplotlib does, it warns and leaves the axes as they
    are where there is no room."""
    figure.tight_layout()
    fitted = figure.subplotpars
    specs = [axis.get_subplotspec() for axis in figure.axes]
    rows = max(s.get_topmost_subplotspec().get_gridspec().nrows for s in specs if s is not None)
    bottom, top = fitted.bottom + below, fitted.top - above
    # subplots_adjust wants the gap between two rows as a multiple of the height of one.
    gap = fitted.hspace * (fitted.top - fitted.bottom) / (rows + (rows - 1) * fitted.hspace)
    height = (top - bottom - (rows - 1) * gap) / rows
    if height <= 0:
        warnings.warn("the figure is too low for its title and notes", stacklevel=2)
        return
    figure.subplots_adjust(bottom=bottom, top=top, hspace=gap / height)


def _below_title(figure: Figure, title: Text) -> float:
    """Moves the figure's legend below the title if there is no room beside it, and makes the figure
    as much higher; returns that height in inches."""
    if not figure.legends:
        return 0.0
    (legend,) = figure.legends
    renderer, margin = figure.canvas.get_renderer(), 0.1 * figure.dpi
    box = legend.get_window_extent(renderer)
    if box.x0 > title.get_window_extent(renderer).x1 + margin and box.height < 0.36 * figure.dpi:
        return 0.0
    # Letters of the SVG, which is drawn at another resolution, are a little wider.
    while 1.02 * box.width > figure.bbox.width - margin and legend._ncols > 1:
        legend = _narrower(figure, legend)
        box = legend.get_window_extent(renderer)
    added = box.height / figure.dpi
    figure.set_figheight(figure.get_figheight() + added)
    legend.set_loc("upper left")
    legend.set_bbox_to_anchor((0.002, 1 - 0.22 / figure.get_figheight()), figure.transFigure)
    return added


def _narrower(figure: Figure, legend: Legend) -> Legend:
    """The figure's legend with a column less. A legend lays its entries out when it is made."""
    labels = [entry.get_text() for entry in legend.get_texts()]
    legend.remove()
    return figure.legend(
        legend.legend_handles,
        labels,
        ncols=legend._ncols - 1,
        handlelength=legend.handlelength,
        columnspacing=legend.columnspacing,
        prop=legend.prop,
    )


def save(figure: Figure, svg: str | Path, png: str | Path, pdf: str | Path) -> None:
    """Saves the figure as SVG, and that drawing as PNG and PDF, atomically; the same figure gives
    the same bytes.

    Matplotlib draws once. For a PDF of its own it would cut the font to size anew for each figure,
    which takes longer than all else; in this one, letters are outlines, as they are in the SVG.
    """
    with replacing(svg) as temporary:
        # Not `savefig`, which draws everything once more to find out what it already knows.
        FigureCanvasSVG(figure).print_svg(temporary, metadata={"Date": None})
    plt.close(figure)
    drawing = Path(svg)
    page = "#set page(width: auto, height: auto, margin: 0pt)\n"
    page += f"#image({json.dumps(drawing.name)})"
    for path, settings in ((png, {"format": "png", "ppi": PPI}), (pdf, {"format": "pdf"})):
        with replacing(path) as temporary:
            made = typst.compile(
                page.encode(),
                root=drawing.parent,
                ignore_system_fonts=True,
                timestamp=0,
                **settings,
            )
            temporary.write_bytes(made)


def log_axis(axis: Axis) -> None:
    """Makes the axis logarithmic, with plain numbers at 1, 2 and 5 of each decade as labels."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    # Nothing shows minor ticks in this style, and each of them takes time.
    axis.set_minor_locator(NullLocator())


def study_notes(study: dict, marks: str | None = "band: {} t interval of the mean") -> list[str]:
    """The footnotes of every figure of a study, with a warning if a chosen setting lies at an edge.

    `marks` names the marks that show the spread over seeds; {} in it becomes the interval ("95 %").
    """
    seeds = len(study["seeds"])
    facts = [
        f"data: {study['data']}",
        f"n = {seeds} seed{'s' if seeds != 1 else ''} per arm",
        marks.format(study["interval"]) if seeds > 1 and marks else None,
        f"protocol: {study['protocol']}",
    ]
    notes = [" · ".join(fact for fact in facts if fact)]
    apart = [f"{arm['label']} ({arm['data']})" for arm in study["arms"] if arm.get("apart")]
    if apart:
        notes.append(f"measured on other data or lengths, not to be compared: {', '.join(apart)}")
    on_edge = [
        f"{arm['label']} ({', '.join(f'{field} {side}' for field, side in arm['edges'].items())})"
        for arm in study["arms"]
        if arm["edges"] and arm["tuned"]
    ]
    if on_edge:
        notes.append(f"Warning: chosen at the edge of what tuning tried: {'; '.join(on_edge)}")
    return notes
