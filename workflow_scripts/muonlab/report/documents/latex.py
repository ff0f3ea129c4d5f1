"""Tables as LaTeX that `\\input` takes into a document; it needs the packages booktabs, array and
longtable."""

from muonlab.report.documents.blocks import CODE, EMPH, STRONG, Grid, Inline

COMMANDS = {STRONG: "textbf", EMPH: "emph", CODE: "texttt"}
# What LaTeX reads as markup, and characters that pdfLaTeX has no letter for.
CHARACTERS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
    "%": r"\%", "_": r"\_", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''",
    "−": "$-$", "±": r"$\pm$", "×": r"$\times$", "≈": r"$\approx$", "≤": r"$\leq$",
    "≥": r"$\geq$", "∞": r"$\infty$", "√": r"$\surd$", "Δ": r"$\Delta$", "σ": r"$\sigma$",
    "ρ": r"$\rho$", "β": r"$\beta$", "ε": r"$\varepsilon$", "μ": r"$\mu$", "‖": r"$\Vert$",
    "½": r"$\frac12$", "¼": r"$\frac14$", "–": "--", "—": "---", "“": "``", "”": "''", "’": "'",
    "→": r"$\rightarrow$", "·": r"$\cdot$", "\xa0": "~", "\n": " ",
}  # fmt: skip


def latex(grid: Grid) -> str:
    """A table as a `longtable`, which breaks over pages; its first line is a comment that names the
    packages. The widths of columns follow the lengths of their texts."""
    columns = "".join(
        rf">{{\raggedright\arraybackslash}}p{{{share:.3f}\linewidth}}" for share in _shares(grid)
    )
    head = " & ".join(rf"\textbf{{{spans(title)}}}" for title in grid.header) + r" \\"
    lines = [
        "% needs \\usepackage{booktabs,array,longtable}",
        r"\begin{longtable}{" + columns + "}",
    ]
    if grid.caption:
        lines.append(rf"\caption{{{spans(grid.caption)}}}\\")
    lines += [r"\toprule", head, r"\midrule", r"\endhead", r"\bottomrule", r"\endfoot"]
    lines += [" & ".join(spans(cell) for cell in row) + r" \\" for row in grid.rows]
    return "\n".join([*lines, r"\end{longtable}"]) + "\n"


def spans(text: Inline) -> str:
    return "".join(
        rf"\{COMMANDS[span.style]}{{{escaped(span.text)}}}"
        if span.style in COMMANDS
        else escaped(span.text)
        for span in text
    )


def escaped(text: str) -> str:
    """Text that LaTeX sets as it is. A character that is neither printable nor known is a space."""
    shown = (CHARACTERS.get(char, char if char.isprintable() else " ") for char in text)
    return "".join(shown)


def _shares(grid: Grid) -> list[float]:
    """The part of the line's width that each column takes, with room for the gaps between them."""
    longest = [
        max(
            sum(len(span.text) for span in cells[i])
            for cells in (grid.header, *grid.rows)
            if i < len(cells)
        )
        for i in range(len(grid.header))
    ]
    sizes = [max(4.0, min(40.0, length)) ** 0.8 for length in longest]
    room = 1 - 0.028 * len(sizes)
    return [room * size / sum(sizes) for size in sizes]
