"""Documents: whatever a text holds, it is shown and never taken for markup."""

import re
import string as letters
from pathlib import Path

import pytest
import typst as compiler
from hypothesis import given, settings
from hypothesis import strategies as st

from muonlab.io.folders import fill
from muonlab.report.documents.blocks import (
    CITE,
    CODE,
    EMPH,
    STRONG,
    Grid,
    Heading,
    Items,
    Paragraph,
    Span,
    escaped,
    grid,
    inline,
    parsed,
    plain,
)
from muonlab.report.documents.html import html
from muonlab.report.documents.latex import latex
from muonlab.report.documents.latex import spans as latex_spans
from muonlab.report.documents.typst import typst
from muonlab.report.numbers import interval, number

TEMPLATE = (
    Path(__file__).parents[2] / "workflow_scripts/muonlab/report/thesis/template.typ"
).read_text()
NASTY = '50 % of #x_1^2 & $y$ {z} ~ \\a "b" <c> @d [e](f) *g* `h` // i /* j'


def text_of(spans):
    return "".join(span.text for span in spans)


@given(st.text(letters.printable.replace("\n", "") + "−½×“”", max_size=60))
def test_escaped_text_is_read_back_as_it_is(text):
    assert text_of(inline(escaped(text))) == text
    assert all(not span.style for span in inline(escaped(text)))


def test_the_markdown_of_the_findings_is_read():
    found = list(
        parsed(
            "# Title\n\nOne **two** `three`\nfour *five*.\n\n**A heading**\n\n- first\n- second\n\n"
            "**A sentence in bold.**\n\n| a | b |\n|---|---|\n| 1 | x \\| y |\n\n**Warning:** no"
        )
    )
    title, paragraph, heading, items, bold, table, warning = found
    assert (title.level, text_of(title.text)) == (1, "Title")
    assert [s.style for s in paragraph.text if s.style] == [STRONG, CODE, EMPH]
    assert isinstance(heading, Heading) and isinstance(bold, Paragraph)
    assert isinstance(items, Items) and len(items.items) == 2
    assert isinstance(table, Grid) and text_of(table.rows[0][1]) == "x | y"
    assert warning.warning and not paragraph.warning


def test_html_escapes_every_text():
    shown = html([Paragraph(plain("<script>&")), grid(("<b>",), [("a & b",)])])
    assert "<script>" not in shown and "&lt;script&gt;&amp;" in shown and "&lt;b&gt;" in shown


def test_a_heading_with_a_label_can_be_pointed_at():
    assert html([Heading(2, plain("Runs"), "a<b")]).startswith('<h2 id="a&lt;b">Runs')
    assert html([Heading(2, plain("Runs"))]).startswith("<h2>Runs")


def blocks(text):
    return [
        Heading(1, plain(text)),
        Paragraph(plain(text)),
        Items((plain(text), (Span(text, STRONG), Span(text, CODE), Span(text, EMPH)))),
        Grid((plain(text), plain("b")), ((plain(text), plain(text)),), plain(text)),
    ]


@pytest.mark.parametrize("text", [NASTY, "", "\x00\x07\n", "]" * 5, "#" + '"' * 3, "\\u{41}"])
def test_typst_compiles_whatever_a_text_holds(text):
    source = TEMPLATE + '\n#show: thesis.with(title: "t")\n' + typst(blocks(text), str)
    assert compiler.compile(source.encode()).startswith(b"%PDF")


@settings(max_examples=8, deadline=None)
@given(st.text(max_size=30))
def test_typst_compiles_any_text(text):
    assert compiler.compile((TEMPLATE + "\n" + typst(blocks(text), str)).encode())


def test_a_citation_of_what_the_bibliography_lacks_is_text():
    cited = [Paragraph(inline("as [@known2024] and [@other] say"))]
    assert cited[0].text[1] == Span("known2024", CITE)
    shown = typst(cited, str, {"known2024"})
    assert '#cite(label("known2024"))' in shown and '#text("other")' in shown


def test_latex_has_no_bare_special_character():
    shown = latex_spans(plain(NASTY))
    bare = re.sub(r"\\[a-zA-Z]+\{\}|\\[{}$&#%_]|\$\\[a-z]+\$|\$-\$", "", shown)
    assert not set("\\{}$&#%_^~<>") & set(bare)
    table = latex(grid(("a_b", "c"), [("1 %", "−2")], "x & y"))
    assert table.count(r"\\") == 3 and r"1 \%" in table and "$-$2" in table
    widths = [float(w) for w in re.findall(r"p\{([\d.]+)\\linewidth\}", table)]
    assert len(widths) == 2 and sum(widths) < 1


def test_numbers_have_three_digits_and_one_minus_sign():
    assert [number(v) for v in (0.14234, -5.839, 1234.5, 0.0)] == ["0.142", "−5.84", "1234", "0"]
    assert number(float("nan")) == "—" and number(-float("inf")) == "−∞"
    assert number(2.0, sign=True) == "+2.00"
    assert interval(-0.1424, -0.2849, -0.0000134, sign=True) == "−0.142 [−0.285, −0.00001]"
    assert interval(1.26124, 1.19981, 1.32527) == "1.26 [1.20, 1.33]"
    assert interval(0.5, float("nan"), float("nan"), sign=True) == "+0.500"
    assert "-" not in interval(-1e-9, -2e-9, -1e-10)


@given(st.floats(-1e5, 1e5), st.floats(1e-6, 1e5), st.floats(1e-6, 1e5))
def test_an_interval_keeps_the_signs_of_its_ends(value, below, above):
    shown = interval(value, value - below, value + above)
    low, high = re.fullmatch(r"\S+ \[(\S+), (\S+)\]", shown).groups()
    for text, end in ((low, value - below), (high, value + above)):
        assert text.startswith("−") == (end < 0)


def test_a_folder_holds_what_it_is_given_and_nothing_else(tmp_path):
    (tmp_path / "copied.txt").write_text("kept")
    target = tmp_path / "folder"
    fill(target, {"a.txt": "one", "sub/b.txt": tmp_path / "copied.txt"})
    fill(target, {"a.txt": "two", "sub/b.txt": tmp_path / "copied.txt"})
    found = {p.relative_to(target).as_posix(): p.read_text() for p in target.rglob("*.txt")}
    assert found == {"a.txt": "two", "sub/b.txt": "kept"}
    with pytest.raises(ValueError, match="leads out"):
        fill(target, {"../out.txt": "no"})
    assert (target / "a.txt").read_text() == "two" and len(list(tmp_path.iterdir())) == 2
