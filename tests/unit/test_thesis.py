"""The thesis, the report and the LaTeX tables, from the kept tables of the default studies."""

import json
import re

import documented
import matplotlib.pyplot as plt
import pandas as pd
import pytest
import typst as compiler
from documented import ROOT, STUDIES

from muonlab.io.errors import UserError
from muonlab.report.across.claims_figure import claims_overview
from muonlab.report.across.latex_tables import latex_files
from muonlab.report.across.report_page import report
from muonlab.report.across.thesis import thesis
from muonlab.report.style import save
from muonlab.report.thesis.evidence import Study
from muonlab.report.thesis.questions import questions

FRAME = ROOT / "workflow_scripts/muonlab/report/thesis"


def studies(tables=None):
    tables, facts = tables or documented.tables(), documented.facts()
    return {s: Study(s, facts[s], documented.settings()[s], tables[s]) for s in STUDIES}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """results/mini/ with the claims and their figure, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "results" / "mini"
    place.mkdir(parents=True)
    documented.claims().to_csv(place / "claims.csv", index=False)
    return place


@pytest.fixture
def given(folder):
    claims = pd.read_csv(folder / "claims.csv")
    place = folder.relative_to(folder.parents[1])
    figure = {suffix: place / f"claims_overview.{suffix}" for suffix in ("svg", "png", "pdf")}
    drawn = claims_overview(claims, "mini")
    save(drawn, *figure.values())
    plt.close(drawn)
    run, data = place / "run.json", place / "digest.json"
    run.write_text(json.dumps({"provenance": {"packages": {"torch": "2"}, "device": "cpu"}}))
    data.write_text(json.dumps({"splits": {"train": {"examples": 9, "sha256": "ab" * 20}}}))
    facts = documented.facts()
    return {
        "claims": claims,
        "claims_overview_figure": figure,
        "name": "mini",
        "template": (FRAME / "template.typ").read_text(),
        "references": (FRAME / "references.bib").read_text(),
        "facts": facts,
        "settings": documented.settings(),
        "captions": documented.captions(),
        "study_tables": documented.files(),
        "drawings": {s: {"learning_curves": figure["pdf"]} for s in STUDIES},
        "texts": documented.texts(),
        "first_runs": {s: {"run": run} for s in STUDIES},
        "data_digests": {s: {facts[s]["data"]: data} for s in STUDIES},
    }


def only(given, function):
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    return {name: given[name] for name in names}


def test_the_thesis_compiles_and_has_every_chapter(given, folder):
    text = thesis(**given)
    for chapter in (
        *("Introduction", "Related work", "Methodology", "Results", "Component analysis"),
        *("Discussion", "The six questions", "Recommendations and conclusion", "Reproducibility"),
        *("All claims", "Statistical report"),
    ):
        assert f'#heading(level: 1)[#text("{chapter}")]' in text
    (folder / "thesis.typ").write_text(text)
    pdf = compiler.compile(folder / "thesis.typ", root=folder, ignore_system_fonts=True)
    assert pdf.startswith(b"%PDF") and len(pdf) > 100_000


def test_every_citation_is_in_the_bibliography():
    prose = "".join(path.read_text() for path in FRAME.glob("*.py"))
    cited = set(re.findall(r"\[@(\w+)\]", re.sub(r'"\s*\n\s*f?"', "", prose)))
    keys = set(re.findall(r"^@\w+\{(\w+),", (FRAME / "references.bib").read_text(), re.M))
    assert cited and cited <= keys


def test_runs_of_mixed_code_are_refused(given, folder):
    runs = pd.read_csv(documented.files()["moe"]["runs"])
    runs.loc[(runs.arm == "muon") & (runs.seed == 2), "code_digest"] = "another"
    runs.to_csv(folder / "runs.csv", index=False)
    given["study_tables"]["moe"]["runs"] = folder / "runs.csv"
    with pytest.raises(
        UserError, match=r"results/mini/moe: the runs of the arm muon .* 2 versions"
    ):
        thesis(**given)


def test_markup_in_a_label_is_only_text(given, folder):
    arm = given["facts"]["fashion"]["arms"][1]
    arm["label"] = '#panic("x") [@jordan2024muon] **b** \\ $ _a_'
    given["facts"]["fashion"]["title"] = '#eval("1") & 100 %'
    (folder / "thesis.typ").write_text(thesis(**given))
    assert compiler.compile(folder / "thesis.typ", root=folder, ignore_system_fonts=True)
    files = latex_files(**only(given, latex_files))
    assert r"\#panic" in files["fashion_muon_beats_adamw.tex"]


def test_warnings_stand_where_they_belong(given):
    text = thesis(**given)
    assert "are embedded data that stand in" in text
    assert "the anchor check “momentum helps Muon” fails" in text
    given["facts"]["moe"]["arms"][0]["edges"] = {"lr": "high"}
    assert "lies on an edge of its" in thesis(**given)
    given["facts"]["moe"]["seeds"] = [1]
    assert "this study has 1 seed; fewer than" in thesis(**given)


def test_the_answers_follow_the_numbers():
    before = {q.asked: q.answer for q in questions(studies())}
    tables = documented.tables()
    for own in tables.values():
        table = own["contrasts"]
        table[["difference", "low", "high"]] = -table[["difference", "high", "low"]].to_numpy()
        table["verdict"] = table.verdict.replace({"better": "worse", "worse": "better"})
    after = {q.asked: q.answer for q in questions(studies(tables))}
    first = "Which optimizer achieves better final performance?"
    assert before[first].startswith("Muon ends at the lower loss in ")
    assert after[first] == before[first].replace("Muon ends", "AdamW ends")
    last = "When should each optimizer be preferred?"
    assert "Muon is to be preferred" in before[last] and "In no study" in after[last]
    assert len(before) == 6


@pytest.mark.parametrize(("low", "high", "winner"), [(1.2, 1.4, "Muon"), (0.6, 0.9, "AdamW")])
def test_who_is_faster_follows_the_speed_up_where_it_is_known(low, high, winner):
    tables = {"moe": documented.tables()["moe"]}
    table = tables["moe"]["speed_up"]
    table[["ratio", "low", "high"]] = (low + high) / 2, low, high
    of_moe = {"moe": Study("moe", documented.facts()["moe"], {}, tables["moe"])}
    (answer,) = [q.answer for q in questions(of_moe) if "faster" in q.asked]
    assert answer == f"{winner} needs fewer steps to the same loss in 1 of 1 study."


def test_latex_tables_name_their_packages_and_the_figures_lie_beside(given):
    files = latex_files(**only(given, latex_files))
    assert {"claims.tex", "example.tex", "ablation_ranking.tex", "figures/claims.pdf"} <= set(files)
    tables = [name for name in files if name.endswith(".tex") and name != "example.tex"]
    for name in tables:
        assert files[name].startswith("% needs \\usepackage{booktabs,array,longtable}")
        assert rf"\input{{{name.removesuffix('.tex')}}}" in files["example.tex"]
    assert len(tables) > 12


def test_the_report_is_one_small_page_that_opens_with_what_was_found(given):
    given |= {"pictures": {}, "other_sizes": [], "shown_tables": {}}
    given["pictures"] = {
        s: {"learning_curves": given["claims_overview_figure"]["png"]} for s in STUDIES
    }
    given["shown_tables"] = {s: {"summary": documented.files()[s]["summary"]} for s in STUDIES}
    page = report(**only(given, report))
    assert page.index("published claims") < page.index("Which published claims survive")
    assert page.index("Which published claims survive") < page.index('id="fashion"')
    for study in STUDIES:
        own = page[page.index(f'id="{study}"') :].split("</section>")[0]
        folded = re.findall("All ([a-z_]+)", own)
        assert folded[0] == "findings" and folded[1:] == sorted(folded[1:])
    assert page.count("data:image/webp;base64,") == 1 + len(STUDIES)
    assert not re.search(r'(?:src|href)="(?!data:|#)', page), "it needs no other file"
    assert "<script" not in page and len(page) < 5_000_000
    assert '<strong class="holds">holds</strong>' in page
