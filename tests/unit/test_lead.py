"""The answer with which findings start follows the numbers."""

import documented
import numpy as np
import pytest

from muonlab.report.lead import answer, claims_decided, lead_lines
from muonlab.statistics.verdicts import NO_DIFFERENCE, NOT_ESTIMABLE


def contrasts():
    return documented.tables()["ablation"]["contrasts"]


def labels():
    return {arm["name"]: arm["label"] for arm in documented.facts()["ablation"]["arms"]}


def families():
    return documented.facts()["ablation"]["families"]


def test_other_labels_give_the_other_answer():
    table = contrasts()
    main = (table.arm_a == "muon") & (table.arm_b == "adamw") & (table.outcome == "final_loss")
    (row,) = table[main].itertuples()
    assert row.verdict == "better"
    size, names = f"{abs(row.difference):.3f}", labels()
    muon, adamw = names["muon"], names["adamw"]
    said = answer(table, names)
    assert f"{muon} ends at a lower loss than {adamw}** (−{size} [" in said
    table[["difference", "low", "high"]] = -table[["difference", "high", "low"]].to_numpy()
    table["verdict"] = table.verdict.replace({"better": "worse", "worse": "better"})
    said = answer(table, names)
    assert f"{muon} ends at a higher loss than {adamw}** (+{size} [" in said


@pytest.mark.parametrize(
    ("word", "n", "said"),
    [(NO_DIFFERENCE, 4, "no detectable difference"), (NOT_ESTIMABLE, 1, "not estimable")],
)
def test_what_cannot_be_told_is_said(word, n, said):
    table = contrasts()
    table[["difference", "low", "high"]] = [0.0 if n > 1 else np.nan, np.nan, np.nan]
    table[["n", "n_a", "n_b"]] = n
    found = answer(table.assign(verdict=word, needs_n=np.nan), labels())
    assert said in found and "nan" not in found and "[" not in found


def test_claims_are_counted_by_what_is_decided():
    table = contrasts()
    declared = [family for family in families() if family["declared"]]
    assert claims_decided(table, families()).startswith(f"Of {len(declared)} declared claims ")
    undecided = table.assign(verdict="undecided")
    assert f"0 are decided and {len(declared)} are open" in claims_decided(undecided, families())
    assert claims_decided(table, []) == ""


def test_there_are_three_lines_at_most():
    checks = documented.tables()["ablation"]["anchor_checks"]
    lines = list(lead_lines(contrasts(), labels(), families(), checks))
    assert len(lines) == 3 and all(line.startswith("- ") for line in lines)
