"""Claims: rules as data, and verdicts that follow the numbers wherever they go."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from muonlab.plan.claims import claim_records, claim_tables
from muonlab.plan.registry import read_registry
from muonlab.plan.runs import load_plan
from muonlab.report.across.claims import claims_table
from muonlab.report.across.claims_text import claims_page
from muonlab.statistics.decisions import DEPENDS, EXPECTED, FAILS, HOLDS, NOT_RUN
from muonlab.statistics.verdicts import (
    DIFFERENT,
    EQUIVALENT,
    FLIPPED,
    NO_DIFFERENCE,
    NOT_ESTIMABLE,
)

ROOT = Path(__file__).parents[2]
KEPT = {
    "fashion": ("contrasts", "runs"),
    "moe": ("contrasts", "runs", "factorials", "speed_up"),
    "ablation": ("contrasts", "runs", "basins"),
}
PLAN = load_plan([ROOT / "config.yaml"])
# Studies that claims name and that may not exist yet, with the tables that they may come to have.
LATER = ()
SWAPPED = {"better": "worse", "higher": "lower", "wider": "narrower"}
SWAPPED |= {other: word for word, other in SWAPPED.items()}


def facts(study, protocol="fair"):
    plan = PLAN.studies[study]
    arms = [{"name": arm.name, "label": arm.label} for arm in plan.arms.values()]
    training = next(iter(plan.arms.values())).settings["training"]
    own = {"base": study, "protocol": protocol, "data": plan.data, "title": plan.title}
    return own | {"arms": arms, "training": training, "alpha": 0.05, "interval": "95 %"}


FACTS = {study: facts(study) for study in KEPT}


def kept():
    return {
        study: {
            name: pd.read_csv(ROOT / "docs" / "results" / "mini" / study / f"{name}.csv")
            for name in names
        }
        for study, names in KEPT.items()
    }


def changed(change):
    """The kept tables with their contrasts and factorials changed."""
    tables = kept()
    for own in tables.values():
        for name in ("contrasts", "factorials", "basins"):
            if name in own:
                own[name] = change(own[name].copy(), name)
    return tables


VALUES = {"contrasts": "difference", "factorials": "value", "basins": "octaves"}


def swapped(table, name):
    """Every a − b as b − a under the same names: as if the arms' labels were exchanged."""
    value = VALUES[name]
    table[[value, "low", "high"]] = -table[[value, "high", "low"]].to_numpy()
    table["verdict"] = table.verdict.map(lambda word: SWAPPED.get(word, word))
    return table


def verdicts(tables, facts=FACTS):
    table = claims_table(claim_records(), facts, tables)
    return table, table.groupby("number").verdict.first()


def test_every_claim_has_a_rule_and_tests_that_can_be_read():
    records = claim_records()
    assert [record["number"] for record in records] == list(range(1, 19))
    registry, known = read_registry(), set()
    for record in records:
        assert record["rule"].endswith((".", ")")) and record["short"] and record["tests"]
        for test in record["tests"]:
            assert test["study"] in {*PLAN.studies, *LATER}
            for part in test["parts"]:
                assert ("expected" in part) != ("within" in part)
                assert part.get("expected", EXPECTED[0]) in EXPECTED
                assert set(part["decides"]) <= {"fair", "published"}
                known.add(part["table"])
                if test["study"] not in LATER:
                    assert registry.table_of(part["table"]), part["table"]
                    arms = {part.get("a"), part.get("b")} - {None}
                    assert arms <= set(PLAN.studies[test["study"]].arms)
    assert {"contrasts", "runs", "factorials", "basins", "overhead", "speed_up"} <= known
    assert set(claim_tables()["moe"]) == {"contrasts", "factorials", "overhead", "runs", "speed_up"}


def test_what_no_study_can_answer_was_not_run():
    _, found = verdicts(kept())
    assert all(found[number] == NOT_RUN for number in (8, 9, 14, 15, 17))
    nothing, words = verdicts({}, {})
    assert (words == NOT_RUN).all() and set(nothing.number) == set(range(1, 19))
    assert nothing.missing.astype(bool).all()  # why
    assert "Of 18 published claims 18 were not run." in claims_page(nothing, "mini", [])


def test_other_labels_flip_every_verdict():
    before, _ = verdicts(kept())
    after, _ = verdicts(changed(swapped))
    assert len(before) == len(after)
    own = before.decides.str.contains("fair") & before.source.notna()
    flipped = {HOLDS: FAILS, FAILS: HOLDS}
    count = 0
    for old, new in zip(before[own].itertuples(), after[own].itertuples(), strict=True):
        if old.fair_verdict in FLIPPED or old.fair_verdict in ("wider", "narrower"):
            assert new.fair_answer == flipped[old.fair_answer], old
            assert new.fair_value == -old.fair_value
            count += 1
    assert count > 5


def test_a_claim_of_several_studies_depends_on_them_where_they_disagree():
    tables = kept()
    for study, own in tables.items():
        low, high, word = (0.5, 1.5, "worse") if study == "ablation" else (-1.5, -0.5, "better")
        numbers = {"difference": (low + high) / 2, "low": low, "high": high}
        own["contrasts"] = own["contrasts"].assign(**numbers, verdict=word)
    _, found = verdicts(tables)
    assert found[1] == DEPENDS
    assert "1 depends on the study" in claims_page(verdicts(tables)[0], "mini", [])


def test_no_difference_is_said_everywhere():
    def zero(table, name):
        table[[VALUES[name], "low", "high"]] = np.array([0.0, np.nan, np.nan])
        return table.assign(verdict=NO_DIFFERENCE, needs_n=np.nan)

    table, _ = verdicts(changed(zero))
    own = table[table.expected.isin(EXPECTED) & (table.fair_answer != NOT_RUN)]
    assert (own.fair_answer == NO_DIFFERENCE).all() and len(own) > 20
    assert not re.search(r"\d \[", " ".join(own.fair_verdict))


def test_one_seed_estimates_nothing():
    def alone(table, name):
        table[["low", "high"]] = np.nan
        if name == "contrasts":
            table[["n", "n_a", "n_b"]] = 1
        return table.assign(n=1, verdict=NOT_ESTIMABLE, needs_n=np.nan)

    tables = changed(alone)
    for own in tables.values():
        own["runs"] = own["runs"][own["runs"].seed == 1]
        if "speed_up" in own:
            own["speed_up"] = own["speed_up"].assign(n=1, low=np.nan, high=np.nan)
    table, found = verdicts(tables)
    assert set(found) == {NOT_ESTIMABLE, NOT_RUN}
    page = claims_page(table, "mini", [])
    assert HOLDS not in page.split("## The evidence")[0].replace("A claim holds where", "")


def test_a_single_run_of_each_arm_has_a_number_and_no_verdict():
    tables = kept()
    own = tables["moe"]
    table = own["contrasts"]
    table[["difference", "low", "high"]] = np.nan
    table[["n", "n_a", "n_b"]] = 1
    own["contrasts"] = table.assign(verdict=NOT_ESTIMABLE)
    own["runs"] = own["runs"][own["runs"].seed == 1]
    found, _ = verdicts(tables)
    (row,) = found[(found.number == 1) & (found.study == "moe")].itertuples()
    loss = own["runs"].set_index("arm").final_loss
    assert row.fair_value == pytest.approx(loss["muon"] - loss["adamw"])
    assert row.fair_answer == NOT_ESTIMABLE and np.isnan(row.fair_low)


def test_both_protocols_stand_side_by_side():
    tables = kept()
    own = tables["moe"]["contrasts"]
    main = (own.arm_a == "muon") & (own.arm_b == "adamw") & (own.outcome == "final_loss")
    own.loc[main, ["difference", "low", "high"]] = [-0.2, -0.3, -0.1]
    own.loc[main, "verdict"] = "better"
    alone = swapped(own.copy(), "contrasts")
    both = FACTS | {"moe_published": facts("moe", "published")}
    table, _ = verdicts(tables | {"moe_published": {"contrasts": alone}}, both)
    (row,) = table[(table.number == 1) & (table.study == "moe")].itertuples()
    assert row.published_value == -row.fair_value
    assert (row.published_answer, row.fair_answer) == (FAILS, HOLDS)
    assert row.source_is_same and row.source_value == pytest.approx(2.5371 - 5.0520)
    assert row.records == "moe/tables/contrasts.csv, moe_published/tables/contrasts.csv"


def test_the_page_has_a_column_for_each_size_that_was_run(tmp_path):
    table, _ = verdicts(kept())
    other = tmp_path / "claims.csv"
    table.assign(verdict="holds").to_csv(other, index=False)
    broken = tmp_path / "old.csv"
    broken.write_text("something,else\n1,2\n")
    sizes = [{"name": "small", "file": str(other)}, {"name": "old", "file": str(broken)}]
    page = claims_page(table, "mini", [*sizes, {"name": "gone", "file": str(tmp_path / "no.csv")}])
    (head,) = re.findall(r"^\| +\| Claim .*$", page, re.M)
    assert "Verdict (mini) | Verdict (small) |" in head and "gone" not in head and "old" not in head
    rows = [line for line in page.splitlines() if re.match(r"\| \d+ \|", line)]
    assert len(rows) == 18 and all(row.endswith("| **holds** |") for row in rows)


def test_verdicts_are_those_of_the_contrasts():
    """A claim never says what the study's own table does not."""
    tables = kept()
    table, _ = verdicts(tables)
    words = {EQUIVALENT, *DIFFERENT}
    own = table[(table.study == "ablation") & (table.expected.isin(EXPECTED))]
    contrasts = tables["ablation"]["contrasts"]
    for row in own[own.comparison.str.contains("final loss")].itertuples():
        near = contrasts[np.isclose(contrasts.difference, row.fair_value)]
        near = near[near.outcome == "final_loss"]
        assert row.fair_verdict.split(" (")[0] in set(near.verdict)
        assert (row.fair_answer in (HOLDS, FAILS)) == bool(set(near.verdict) & words)


@pytest.mark.parametrize("size", ["mini", "published"])
def test_the_kept_page_is_computed_from_its_table(size):
    """The evidence; the table above it may have columns of other sizes."""
    folder = ROOT / "docs" / "results" / size
    page = claims_page(pd.read_csv(folder / "claims.csv"), size, [])
    head = "## The evidence"
    assert (folder / "claims.md").read_text().split(head)[1] == page.split(head)[1]
