"""Multiple choice: items as the harness makes them, log-likelihoods against a loop in float64, and
paired tests over items against scipy and by hand."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from muonlab.data.tokenizer import Encoder, train_tokenizer
from muonlab.io.errors import UserError
from muonlab.models.transformer import Transformer
from muonlab.probes.choice_items import arc, cleaned, hellaswag, read_items
from muonlab.probes.likelihood import encode_pair, log_likelihoods, window
from muonlab.report.choices import accuracy_table, contrast_table, correct
from muonlab.report.figures.benchmarks import benchmarks
from muonlab.report.style import save
from muonlab.statistics import item_tests
from muonlab.statistics.bootstrap import resampled
from muonlab.statistics.item_tests import mcnemar, over_items

TASK = {"format": "hellaswag", "files": [], "name": None, "items": None}
TEXT = ["The quick brown fox jumps over the lazy dog. " * 20, "Roof shingle removal: a man is " * 9]


def tiny(context=24, experts=0, capacity=None, factor=3.0):
    encoder = Encoder(train_tokenizer(TEXT, 300), "test")
    model = Transformer(
        vocab=encoder.vocab, context=context, width=16, layers=2, heads=2, feedforward=24,
        experts=experts, top_k=2, capacity=capacity,
    )  # fmt: skip
    model.initialise(0, "init")
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(factor)  # so that endings differ clearly
    return model.eval(), encoder


def encode_with(encoder):
    return lambda text: encoder.tokenizer.encode(text, add_special_tokens=False).ids


# Items


def test_hellaswags_brackets_are_cleaned_in_the_harnesss_order():
    # strip; " [title]" → ". "; "[…]" → ""; then two spaces → one, once.
    assert cleaned(" [header] How to x [title] Do it. [step] Now  then. ") == (
        " How to x. Do it. Now then."
    )
    assert cleaned("a [b] [c] d") == "a  d"  # three spaces become two
    record = {
        **{"activity_label": "Baking", "ctx_a": "[header] Cakes [title] Mix."},
        **{"ctx_b": "she [substeps] stirs", "label": "1"},
        **{"ctx": "not read", "endings": ["the bowl [title] slowly.", "[step] it."]},
    }
    item = hellaswag(record)
    assert item == ("Baking: Cakes. Mix. She stirs", ("the bowl. slowly.", " it."), 1)
    joined = {"activity_label": "Baking", "ctx": "He stirs. he", "endings": ["a", "b"], "label": 0}
    assert hellaswag(joined).context == "Baking: He stirs. he"


def test_arcs_answers_may_be_named_by_letters_or_numbers():
    choices = {"text": ["ice", "steam"], "label": ["1", "2"]}
    item = arc({"question": "What is hot?", "choices": choices, "answerKey": "2"})
    assert item == ("Question: What is hot?\nAnswer:", ("ice", "steam"), 1)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"x.jsonl, line 2: is not JSON"),
        ('{"ctx": "a"}', r"record 2 is not an item of hellaswag \(KeyError: 'endings'\)"),
        (
            '{"activity_label": "a", "ctx": "b", "endings": ["c", "d"], "label": "4"}',
            "record 2 has an empty ending, or no right one",
        ),
    ],
)
def test_a_wrong_record_is_refused_in_one_sentence(tmp_path, line, message):
    good = {"activity_label": "a", "ctx": "b", "endings": ["c", "d"], "label": "1"}
    file = tmp_path / "x.jsonl"
    file.write_text(f"{json.dumps(good)}\n{line}\n")
    with pytest.raises(UserError, match=message):
        read_items(TASK | {"files": [str(file)]}, "t")
    assert len(read_items(TASK | {"files": [str(file)], "items": 1}, "t")) == 1


# Log-likelihoods


def one_by_one(model, encoder, context, ending, length):
    """The sum of log-probabilities of the ending's tokens: one token after the other, float64."""
    encode = encode_with(encoder)
    start, whole = encode(context), encode(context + ending)
    assert whole[: len(start)] == start
    tokens, wide, total = whole[-(length + 1) :], model.double(), 0.0
    first = max(1, len(tokens) - (len(whole) - len(start)))
    with torch.no_grad():
        for place in range(first, len(tokens)):
            logits = wide(torch.tensor([tokens[:place]]))[0, -1].double()
            total += float(logits[tokens[place]] - torch.logsumexp(logits, 0))
    model.float()
    return total


@pytest.mark.parametrize("experts", [0, 4])
def test_batches_give_what_a_loop_over_single_tokens_gives(experts):
    model, encoder = tiny(experts=experts)
    rng = np.random.default_rng(0)
    words = [
        "the",
        "lazy",
        "dog",
        "jumps",
        "over",
        "a",
        "quick",
        "brown",
        "fox",
        "and",
        "removal",
        "of",
        "roof",
        "shingles",
    ]
    texts = [
        (" ".join(rng.choice(words, rng.integers(1, 30))), f" {' '.join(rng.choice(words, k))}")
        for k in (1, 2, 3, 9, 1, 4, 2, 30)
    ]
    encode = encode_with(encoder)
    pairs = [encode_pair(c, e, encode, encoder.end_of_text) for c, e in texts]
    found = log_likelihoods(model, pairs, 24)
    for (context, ending), scored in zip(texts, found, strict=True):
        assert scored.value == pytest.approx(
            one_by_one(model, encoder, context, ending, 24), abs=1e-4
        )
    assert [scored.cut for scored in found] == [sum(map(len, pair)) > 25 for pair in pairs]
    # Neither the batch nor the order matters.
    again = log_likelihoods(model, pairs[::-1] + pairs[:3], 24)
    assert [s.value for s in again[:8][::-1]] == pytest.approx([s.value for s in found], abs=1e-5)


def test_experts_with_a_capacity_read_one_sequence_at_a_time():
    model, encoder = tiny(experts=4, capacity=0.6)
    encode = encode_with(encoder)
    pairs = [
        encode_pair(context, ending, encode, encoder.end_of_text)
        for context in ("the lazy dog", "a quick brown fox jumps")
        for ending in (" over the roof", " removal", " a man is lazy")
    ]
    alone = [log_likelihoods(model, [pair], 24)[0].value for pair in pairs]
    together = [scored.value for scored in log_likelihoods(model, pairs, 24)]
    assert together == pytest.approx(alone, abs=1e-5)


def test_pairs_and_windows():
    encode = lambda text: [ord(c) for c in text]  # noqa: E731
    assert encode_pair("ab ", "c", encode, 0) == ([97, 98], [32, 99])  # spaces go to the ending
    assert encode_pair("", "c", encode, 7) == ([7], [99])
    pair = encode_pair("abcd", "ef", encode, 0)
    assert window(pair, 9) == ([97, 98, 99, 100, 101, 102], 2)
    assert window(pair, 3) == ([99, 100, 101, 102], 2)
    assert window(pair, 1) == ([101, 102], 1)  # of a longer ending, its last tokens are scored


@pytest.mark.skipif("MUONLAB_DATA" not in os.environ, reason="needs MUONLAB_DATA")
def test_hellaswag_scores_are_those_of_an_independent_computation():
    """Per item 1e-4, and accuracy and normalised accuracy, on real items."""
    file = Path(os.environ["MUONLAB_DATA"]) / "hellaswag" / "validation-first-1000.jsonl"
    if not file.exists():
        pytest.skip("MUONLAB_DATA has no hellaswag")
    model, encoder = tiny(context=96, factor=1.5)
    items = read_items(TASK | {"files": [str(file)], "items": 60}, "hellaswag")
    raw = [json.loads(line) for line in file.read_text().splitlines()[:60]]
    encode = encode_with(encoder)
    pairs = [
        encode_pair(item.context, f" {ending}", encode, encoder.end_of_text)
        for item in items
        for ending in item.endings
    ]
    found = iter(log_likelihoods(model, pairs, 96))
    rows, right, normalised = [], [], []
    for number, record in enumerate(raw):
        context = f"{record['activity_label']}: {record['ctx']}"
        sums = []
        for ending in record["endings"]:
            wanted = one_by_one(model, encoder, context, f" {ending}", 96)
            scored = next(found)
            assert scored.value == pytest.approx(wanted, abs=1e-4)
            sums.append(wanted)
            rows.append(
                {"arm": "a", "seed": 1, "task": "h", "item": number, "ending": len(sums) - 1}
                | {"gold": int(record["label"]), "log_likelihood": scored.value}
                | {"bytes": len(ending.encode()), "cut": scored.cut}
            )
        gold, sizes = int(record["label"]), [len(e.encode()) for e in record["endings"]]
        right.append(int(np.argmax(sums)) == gold)
        normalised.append(int(np.argmax(np.divide(sums, sizes))) == gold)
    table = correct(pd.DataFrame(rows))
    assert table.acc.astype(bool).tolist() == right
    assert table.acc_norm.astype(bool).tolist() == normalised


# Accuracies and tests over items


def records(arms=("adamw", "muon"), seeds=(1, 2, 3, 4), items=60, better="muon", broken=()):
    rng = np.random.default_rng(2)
    rows = []
    for arm in arms:
        for seed in seeds:
            for item in range(items):
                gold = item % 4
                values = rng.normal(-20, 3, 4)
                values[gold] += 4 if arm == better else 1
                if (arm, seed) in broken:
                    values[:] = np.nan
                rows += [
                    {"arm": arm, "seed": seed, "task": "t", "item": item, "ending": j}
                    | {"gold": gold, "log_likelihood": values[j], "bytes": 10 + 7 * j}
                    | {"cut": item == 0}
                    for j in range(4)
                ]
    return pd.DataFrame(rows)


STUDY = {
    **{"alpha": 0.05, "interval": "95 %", "title": "Made up", "data": "text", "protocol": "fair"},
    **{"seeds": [1, 2, 3, 4]},
    "arms": [
        {"name": "adamw", "label": "AdamW", "edges": {}, "tuned": True},
        {"name": "muon", "label": "Muon", "edges": {}, "tuned": True},
    ],
}


def test_accuracies_and_contrasts_are_those_of_numpy_and_scipy(tmp_path):
    made = records()
    items = correct(made)
    shuffled = correct(made.sample(frac=1, random_state=0))
    keys = ["arm", "seed", "item"]
    pd.testing.assert_frame_equal(
        items.sort_values(keys, ignore_index=True), shuffled.sort_values(keys, ignore_index=True)
    )
    by_hand = {}
    for (arm, seed), own in made.groupby(["arm", "seed"]):
        values = own.log_likelihood.to_numpy().reshape(-1, 4)
        gold = own.gold.to_numpy().reshape(-1, 4)[:, 0]
        sizes = own.bytes.to_numpy().reshape(-1, 4)
        by_hand[arm, seed] = (
            (values.argmax(1) == gold).mean(),
            ((values / sizes).argmax(1) == gold).mean(),
        )
    table = accuracy_table(items, STUDY, 500)
    for row in table.itertuples():
        score = ("acc", "acc_norm").index(row.score)
        each = [by_hand[row.arm, seed][score] for seed in (1, 2, 3, 4)]
        ends = stats.ttest_1samp(each, 0).confidence_interval(0.95)
        assert (row.mean, row.low, row.high) == pytest.approx((np.mean(each), ends.low, ends.high))
        assert row.item_low < row.mean < row.item_high and row.chance == 0.25
        assert row.cut == pytest.approx(1 / 60)
    [acc, _] = contrast_table(items, [{"a": "muon", "b": "adamw"}], STUDY, 500).itertuples()
    differences = [by_hand["muon", s][0] - by_hand["adamw", s][0] for s in (1, 2, 3, 4)]
    assert acc.difference == pytest.approx(np.mean(differences))
    assert acc.difference_verdict == "better" and acc.item_low > 0
    assert acc.only_a - acc.only_b == round(60 * sum(differences))
    save(benchmarks(table, STUDY), tmp_path / "b.svg", tmp_path / "b.png", tmp_path / "b.pdf")


def test_a_diverged_run_makes_the_accuracy_not_estimable():
    items = correct(records(broken={("muon", 2)}))
    table = accuracy_table(items, STUDY, 200).set_index(["arm", "score"])
    assert np.isnan(table.loc[("muon", "acc"), ["mean", "low", "item_low"]].astype(float)).all()
    assert np.isfinite(table.loc[("adamw", "acc"), "mean"])
    row = contrast_table(items, [{"a": "muon", "b": "adamw"}], STUDY, 200).iloc[0]
    assert row.difference_verdict == "not estimable" and row.p_mcnemar == ""


def test_mcnemar_is_the_exact_binomial_test():
    rng = np.random.default_rng(0)
    a, b = rng.random(300) < 0.6, rng.random(300) < 0.5
    found = mcnemar(a, b)
    table = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
    from statsmodels.stats.contingency_tables import mcnemar as other

    assert found.p == pytest.approx(other(table, exact=True).pvalue)
    assert mcnemar(b, a) == (found.only_b, found.only_a, found.p)
    assert mcnemar(a, a).p == 1.0 and np.isnan(mcnemar([], []).p)
    with pytest.raises(ValueError, match="items"):
        mcnemar([True], [True, False])


def test_a_bootstrap_in_parts_draws_as_many_resamples(monkeypatch):
    counts = []

    def counted(n, count, *rest):
        counts.append(count)
        return resampled(n, count, *rest)

    monkeypatch.setattr(item_tests, "resampled", counted)
    monkeypatch.setattr(item_tests, "AT_ONCE", 7 * 30)
    over_items(np.arange(30.0), resamples=50)
    assert sum(counts) == 50 and max(counts) == 7


def test_the_bootstrap_over_items_has_the_width_of_the_standard_error():
    values = np.random.default_rng(1).random(400) < 0.3
    low, high = over_items(values, resamples=4000)
    error = values.std(ddof=1) / np.sqrt(400)
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.08)
    assert over_items(-values.astype(float), resamples=4000) == pytest.approx((-high, -low))
    assert all(np.isnan(over_items(own)).all() for own in ([1.0], [1.0, np.nan], [1.0, 1.0]))
