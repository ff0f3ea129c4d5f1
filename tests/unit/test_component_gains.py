"""Which components gain from Muon: the arms that answer it, and their figure."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from muonlab.plan.components import component_families, components_of
from muonlab.plan.runs import load_plan
from muonlab.report.figures.component_gains import component_gains
from muonlab.report.style import save

ROOT = Path(__file__).parents[2]
ATTENTION = ["query", "key", "value", "attention_output"]


def comparison(tmp_path, study=None):
    over = tmp_path / "over.yaml"
    over.write_text(yaml.safe_dump({"studies": {"comparison": study or {}}}))
    return load_plan([ROOT / "config.yaml", over]).studies["comparison"]


def test_the_arms_of_a_family_say_what_muon_trains(tmp_path):
    study = comparison(tmp_path)
    [family] = component_families(study)
    assert family["against"] == "muon_nowhere" and family["arms"]["muon_nowhere"] == []
    assert family["arms"]["muon_attention"] == ATTENTION
    assert family["arms"]["muon_experts"] == ["expert_up", "expert_down"]
    assert "embedding" in family["arms"]["muon_all"] and "embedding" not in family["arms"]["muon"]


def test_components_that_the_model_lacks_are_left_out(tmp_path):
    dense = comparison(tmp_path, {"model": {"experts": 0, "activation": "swiglu"}})
    assert components_of(dense, "muon") == [*ATTENTION, "up", "gate", "down"]
    assert components_of(dense, "muon_experts") == ["up", "gate", "down"]


@pytest.mark.parametrize(
    "arm",
    [
        {"base": "muon", "set": {"optimizer.ns_steps": 3}, "tune": False},
        {"base": "muon", "set": {"model.qk_norm": True}, "tune": False},
    ],
)
def test_a_family_whose_arms_differ_in_something_else_does_not_answer_it(tmp_path, arm):
    families = {"components": {"arms": ["muon_attention", "muon_experts", "muon", "other"]}}
    change = {"arms": {"other": arm}, "measure": {"contrasts": {"families": families}}}
    assert component_families(comparison(tmp_path, change)) == []


def test_the_figure_shows_decided_undecided_and_missing_differences(tmp_path):
    [family] = component_families(comparison(tmp_path))
    arms = [arm for arm in family["arms"] if arm != family["against"]]
    values = [-0.2, -0.01, np.nan, -0.1, -0.3, 0.1]
    verdicts = ["better", "undecided", "not estimable", "better", "better", "worse"]
    contrasts = pd.DataFrame(
        {
            **{"outcome": "final_loss", "arm_a": arms, "arm_b": family["against"]},
            **{"n_a": 4, "n_b": 4, "difference": values, "verdict": verdicts, "needs_n": 12.0},
            **{"low": np.array(values) - 0.05, "high": np.array(values) + 0.05},
        }
    )
    study = {
        **{"title": "Made up", "data": "text", "protocol": "fair", "seeds": [1, 2, 3, 4]},
        **{"interval": "95 %"},
        "arms": [{"name": n, "label": n, "edges": {}, "tuned": True} for n in family["arms"]],
    }
    drawn = component_gains([family], contrasts, study)
    left, right = drawn.axes
    filled = sum(line.get_marker() == "s" and line.get_mfc() != "white" for line in left.lines)
    assert filled == sum(map(len, family["arms"].values()))
    marks = [line for line in right.lines if line.get_marker() == "o"]
    assert [mark.get_mfc() == "white" for mark in marks] == [False, True, False, False, False]
    assert sum(line.get_marker() == "x" for line in right.lines) == 1
    save(drawn, tmp_path / "c.svg", tmp_path / "c.png", tmp_path / "c.pdf")
    assert (tmp_path / "c.png").stat().st_size > 10_000
