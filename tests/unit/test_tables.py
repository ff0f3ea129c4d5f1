"""Declared tables and texts: what their decorators say, and what they add to the records."""

import ast
import math
import re
import string
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from muonlab.measure import stability as steadiness
from muonlab.report.measured import over_seeds
from muonlab.report.setting_claims import SOURCES, examined, judged, read_sources
from muonlab.report.tables.runs import runs
from muonlab.report.tables.stability import stability
from muonlab.report.texts.findings import LEGEND, findings
from muonlab.report.versions import version_sentences

REPORT = Path(SOURCES).parent
MARKS = {"table": {"section", "outputs"}, "text": {"title", "section", "caption"}}
WORDS = {
    "title", "data", "protocol", "n", "interval", "alpha", "split", "levels", "rates",
    "against", "test", "effect",
}  # fmt: skip


def declarations():
    """(module, function, what its decorator says) of each table and each text."""
    for kind in MARKS:
        for path in sorted((REPORT / f"{kind}s").glob("*.py")):
            for node in ast.parse(path.read_text()).body:
                for mark in getattr(node, "decorator_list", []):
                    if isinstance(mark, ast.Call) and getattr(mark.func, "id", "") == kind:
                        said = {word.arg: ast.literal_eval(word.value) for word in mark.keywords}
                        yield path.stem, node, kind, said


def captions():
    for module, _, kind, said in declarations():
        if kind == "text":
            yield module, said["caption"]
        for name, shown in said.get("outputs", {}).items():
            if shown is not None:
                yield name, shown[1]


def test_every_decorator_is_literal_and_says_what_its_kind_needs():
    found = list(declarations())
    assert {module for module, *_ in found} == {
        path.stem
        for kind in MARKS
        for path in (REPORT / f"{kind}s").glob("*.py")
        if path.stem != "__init__"
    }
    for module, node, kind, said in found:
        assert module == node.name, "the function's name is the module's"
        assert set(said) == MARKS[kind]
        names = [arg.arg for arg in node.args.args]
        required = names[: len(names) - len(node.args.defaults)]
        assert required and not node.args.kwonlyargs
        assert all(default.value is None for default in node.args.defaults)
    outputs = [name for *_, said in found for name in said.get("outputs", {})]
    assert len(set(outputs)) == len(outputs)


@pytest.mark.parametrize(("name", "caption"), list(captions()), ids=lambda value: value[:20])
def test_a_caption_is_filled_with_known_words_alone(name, caption):
    fields = {field for _, field, *_ in string.Formatter().parse(caption) if field is not None}
    assert fields <= WORDS
    filled = caption.format(**{word: f"<{word}>" for word in WORDS})
    assert "{" not in filled and "  " not in filled and filled.endswith(".")


def test_the_level_of_an_interval_is_typed_nowhere():
    shared = [REPORT / f"{name}.py" for name in ("sentences", "measured", "outcomes", "lead")]
    for path in [*REPORT.glob("tables/*.py"), *REPORT.glob("texts/*.py"), *shared]:
        assert not re.search(r"\b9[05] %", path.read_text()), path.name


# ---------------------------------------------------------------- runs


def metrics_of(losses, arm="muon", seed=1, split="validation"):
    rows = [
        {"arm": arm, "seed": seed, "step": 10 * i, "split": split, "metric": "loss", "value": value}
        for i, value in enumerate(losses)
    ]
    return pd.DataFrame(rows)


def study(**facts):
    arms = [
        {"name": arm, "label": label, "tuned": True, "settings": {"lr": 0.1}, "edges": {}}
        for arm, label in (("muon", "Muon"), ("adamw", "AdamW"))
    ]
    known = {"title": "Made up", "data": "digits", "protocol": "fair", "kind": "images"}
    known |= {"training": {"paired": True, "evaluate_on": "validation"}, "seeds": [1, 2, 3, 4, 5]}
    return known | {"alpha": 0.05, "interval": "95 %", "levels": 3, "arms": arms} | facts


def run_records(digests=("code", "watch")):
    """The records of five runs of each of two arms, all of which fall from 8 to 1 or so."""
    rng = np.random.default_rng(0)
    listed, summaries, provenances, metrics = [], [], [], []
    for arm in ("muon", "adamw"):
        for seed in (1, 2, 3, 4, 5):
            listed.append({"arm": arm, "seed": seed, "run": f"{arm}/{seed}"})
            names = ("final_loss", "final_accuracy", "test_loss", "test_accuracy", "best_loss")
            summaries.append({name: float(rng.uniform()) for name in names})
            summaries[-1] |= {"best_step": 9, "steps": 9, "diverged": False, "diverged_at": None}
            summaries[-1] |= {"parameters": 8, "evaluated_on": "validation"}
            names = ("seconds", "seconds_per_epoch", "cpu_seconds_per_epoch", "peak_host_bytes")
            provenances.append(dict.fromkeys(names, 1.0) | {"device": "cpu", "device_type": "cpu"})
            provenances[-1] |= {"threads": 1, "code_digest": digests[0]}
            if digests[1]:
                provenances[-1]["observer_digest"] = digests[1]
            metrics.append(metrics_of([8.0, 4.0, 2.0, 1.0 + 0.1 * seed], arm, seed))
    return listed, summaries, provenances, pd.concat(metrics, ignore_index=True)


def test_runs_say_when_they_came_to_the_losses_that_all_passed():
    tables = runs(*run_records(), study())
    table, summary = tables["runs"], tables["summary"]
    assert table.level_at_loss_3.eq(1.5).all(), "the minimum of the worst run"
    assert table[table.seed == 5].step_at_loss_3.eq(30.0).all()
    assert table[table.seed == 1].step_at_loss_3.to_numpy() == pytest.approx(20 + 10 * 0.5 / 0.9)
    assert (table.step_at_loss_1 < table.step_at_loss_2).all()
    rows = summary[summary.outcome == "step_at_loss_3"]
    assert rows.level.eq(1.5).all() and rows["mean"].notna().all()
    assert summary[summary.outcome == "final_loss"].level.isna().all()


def test_runs_name_the_code_that_watched_them_where_it_is_known():
    known = runs(*run_records(), study())["runs"]
    place = list(known).index("code_digest")
    assert list(known)[place : place + 2] == ["code_digest", "observer_digest"]
    assert (known.observer_digest == "watch").all()
    assert runs(*run_records(("code", None)), study())["runs"].observer_digest.isna().all()


def test_intervals_have_the_level_of_the_study():
    wide, narrow = (
        runs(*run_records(), study(alpha=alpha))["summary"].set_index(["arm", "outcome"])
        for alpha in (0.01, 0.5)
    )
    at = ("muon", "final_loss")
    assert wide.low[at] < narrow.low[at] < narrow.high[at] < wide.high[at]
    records = pd.DataFrame({"arm": "muon", "value": [1.0, 2.0, 4.0], "metric": "x"})
    wide, narrow = (over_seeds(records, ["metric"], study(alpha=a)).iloc[0] for a in (0.01, 0.5))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_the_stability_of_a_run_is_that_of_its_training_losses():
    rng = np.random.default_rng(1)
    frames, expected = [], {}
    for seed in (2, 1):
        losses = 3 * np.exp(-np.arange(120) / 40) + 0.1 * rng.standard_normal(120)
        norms = rng.uniform(0, 2000, 120)
        train = metrics_of(losses, seed=seed, split="train")
        frames += [train, train.assign(metric="gradient_norm", value=norms)]
        frames += [train.assign(metric="lr", value=0.1), metrics_of([9.0] * 120, seed=seed)]
        expected[seed] = steadiness.stability(train.step, losses, norms)
    table = stability(pd.concat(frames).sort_values("step", kind="stable"))
    assert list(table.seed) == [2, 1] and set(table.arm) == {"muon"}
    for row in table.to_dict("records"):
        own = expected[row["seed"]]
        assert {name: row[name] for name in own} == pytest.approx(own)


# ---------------------------------------------------------------- findings


def contrast(**facts):
    row = {"outcome": "sharpness_loss_2", "label": "sharpness", "point": "loss 2", "level": 0.5}
    row |= {"loss_a": 0.51, "loss_b": 0.53, "loss_difference": -0.02}
    row |= {"arm_a": "muon", "arm_b": "adamw", "difference": 1.0, "low": 0.5, "high": 1.5}
    row |= {"verdict": "higher", "needs_n": math.nan, "n_a": 5, "n_b": 5}
    row |= {"reason": "", "family": "exploratory", "sesoi": math.nan, "sesoi_n": math.nan}
    row |= {"mdd_80": 0.3}
    return pd.DataFrame([row | {"compound": False, "variables": "optimizer"} | facts])


def text(digests=("code", "watch"), mixed=None, settings=None, **facts):
    made = runs(*run_records(digests), study())
    for column, values in (mixed or {}).items():
        made["runs"][column] = values
    return findings(contrast(**facts), made["summary"], made["runs"], study(), settings)


def test_a_comparison_at_equal_loss_says_at_which_and_what_was_achieved():
    assert "| sharpness, at loss 2 | **+1.00 [0.50, 1.50]** at 0.500 (Δ −0.020), higher |" in text()
    assert " at 0.500, higher |" in text(loss_difference=math.nan)
    end = text(outcome="sharpness_end", point="end", level=math.nan)
    assert "| sharpness, at the end | **+1.00 [0.50, 1.50]**, higher |" in end
    # Tables that are read from files have NaN for an empty point.
    assert "| final loss |" in text(outcome="final_loss", label="final loss", point=math.nan)
    why = "There is no loss that every run of the compared arms passed."
    assert f"(1 of them). {why}" in text(verdict="not estimable", reason=why)


def test_each_verdict_is_told_beside_its_interval():
    numbers, at_end = "+1.00 [0.50, 1.50]", {"point": "end", "outcome": "sharpness_end"}
    assert f"**{numbers}**, higher" in text(**at_end)
    assert f" {numbers}, equivalent" in text(**at_end, verdict="equivalent")
    found = text(**at_end, verdict="undecided", needs_n=123.0)
    assert f" {numbers}, undecided (needs n ≈ 130)" in found and "**+1" not in found
    assert f" {numbers}, no verdict (n = 3)" in text(**at_end, verdict="no verdict", n_a=3)


def test_a_claim_is_told_with_its_comparisons():
    made = runs(*run_records(), study())
    table = pd.concat([contrast(family="flat"), contrast(outcome="test_loss", family="flat")])
    table.iloc[1, table.columns.get_indexer(["verdict", "reason"])] = ["not estimable", "n is 1."]
    families = [
        {"name": "flat", "claim": "Muon is sharper.", "declared": True, "size": 2},
        {"name": "factorial x", "claim": "", "declared": False, "size": 4},
    ]
    told = findings(table, made["summary"], made["runs"], study(), {"families": families})
    assert (
        "- *Muon is sharper* (2 comparisons): sharpness, at loss 2, Muon − AdamW: +1.00 [0.50, "
        "1.50] at 0.500 (Δ −0.020), **higher**; sharpness, at loss 2, Muon − AdamW: not estimable "
        "(n is 1)."
    ) in told
    assert "factorial x" not in told


def test_what_the_seeds_cannot_see_is_told_with_the_number_that_could():
    found = text(sesoi=0.1, sesoi_n=41.0)
    assert (
        "sharpness: the declared smallest difference, 0.1, is smaller than what n = 5 seeds see "
        "with a power of 80 % in 1 of 1 comparisons (0.300); they need n ≈ 41."
    ) in found
    assert "power of 80 %" not in text(sesoi=0.5, sesoi_n=3.0)
    assert "power of 80 %" not in text()


def test_a_compound_pair_is_explained():
    found = text(compound=True, variables="optimizer, lr")
    assert "Muon against AdamW: the arms differ in more than one setting (optimizer, lr)" in found


def test_findings_name_the_studys_own_level():
    made = runs(*run_records(), study())
    found = findings(contrast(), made["summary"], made["runs"], study(interval="90 %"))
    assert (
        "90 % interval" in found
        and "95 %" not in found
        and "{" not in LEGEND.format(interval="", levels=3)
    )


def test_runs_of_more_than_one_version_are_told_and_why_it_matters():
    assert "version of the code" not in text()
    trained = text(mixed={"code_digest": ["new"] * 2 + ["old"] * 3 + ["other"] * 5})
    assert (
        "were trained by more than one version of the code (2 by new, 3 by old); differences "
        "between these runs may come from the code"
    ) in trained
    watched = text(mixed={"observer_digest": ["new"] * 9 + [None]})
    assert "were watched by more than one version of the code" in watched
    assert "were trained" not in watched and "1 by an unknown version" in watched
    assert "version of the code" not in text(digests=("code", None))


def test_only_arms_with_one_optimizer_and_model_share_their_code():
    table = pd.DataFrame({"arm": ["a", "b", "c"], "seed": 1, "code_digest": ["x", "x", "y"]})
    settings = {arm: {"optimizer.name": "muon", "model.name": "mlp"} for arm in "abc"}
    assert len(list(version_sentences(table, settings))) == 1
    settings["c"] = {"optimizer.name": "adamw", "model.name": "mlp"}
    assert not list(version_sentences(table, settings))
    assert not list(version_sentences(table))


# ---------------------------------------------------------------- claims


def effect(value, verdict, matched=False, reference="5", field="optimizer.ns_steps"):
    return {
        "field": field, "reference_value": reference, "value": value, "matched_step": matched,
        "arm": "one", "arm_a": "one", "arm_b": "other", "n": 5, "needs_n": math.nan,
        "verdict": verdict, "difference": 0.1, "low": 0.0, "high": 0.2,
    }  # fmt: skip


def source(**claim):
    known = {"words": "{value} beats 5", "field": "optimizer.ns_steps", "reference": "5"}
    return [
        {"source": "made up", "claims": [known | {"values": ["10"], "expected": "better"} | claim]}
    ]


def test_claims_are_read_from_their_file_and_are_complete():
    for one in read_sources():
        assert one["source"] and one["claims"]
        for claim in one["claims"]:
            assert {"words", "field", "reference", "values", "expected"} <= set(claim)
            assert claim["expected"] in ("better", "worse")
            assert all(isinstance(value, str) for value in [claim["reference"], *claim["values"]])
    for path in REPORT.glob("**/*.py"):
        assert "beat 5" not in path.read_text(), f"{path.name}: what a source claims is data"


@pytest.mark.parametrize(
    ("verdict", "found"),
    [
        ("better", "holds"), ("worse", "does not hold"), ("equivalent", "does not hold"),
        ("undecided", "undecided"), ("not estimable", "undecided"), ("no verdict", "undecided"),
    ],
)  # fmt: skip
def test_a_claim_follows_the_verdict(verdict, found):
    ((words, raw, matched, said),) = examined(pd.DataFrame([effect("10", verdict)]), source())
    assert (words, raw.verdict, matched, said) == ("10 beats 5", verdict, None, found)


def test_a_claim_is_about_the_arm_with_the_value_on_whichever_side_it_stands():
    turned = effect("10", "worse") | {"arm_a": "other", "arm_b": "one"}
    ((*_, said),) = examined(pd.DataFrame([turned]), source())
    assert said == "holds"


def test_a_claim_at_any_size_needs_both_comparisons():
    claim = source(at_any_size=True)[0]["claims"][0]
    better, worse = (pd.Series(effect("10", verdict)) for verdict in ("better", "worse"))
    assert judged(claim, better, better) == "holds"
    assert judged(claim, better, worse) == "does not hold"
    assert judged(claim, better, None) == "undecided"
    assert judged(claim, worse, better) == "does not hold"


def test_claims_that_no_arm_tests_are_left_out():
    assert not list(examined(pd.DataFrame([effect("7", "better")]), source()))
    assert not list(examined(pd.DataFrame([effect("10", "better", reference="3")]), source()))


def test_values_are_found_again_after_the_table_was_read_from_a_file(tmp_path):
    numbers = pd.DataFrame([effect("10", "better"), effect("7", "better")])
    flags = pd.DataFrame([effect("false", "better", reference="true")])
    claims = source() + source(values=["false"], reference="true")
    for i, table in enumerate((numbers, flags)):
        table.to_csv(tmp_path / f"{i}.csv", index=False)
        assert len(list(examined(pd.read_csv(tmp_path / f"{i}.csv"), claims))) == 1
