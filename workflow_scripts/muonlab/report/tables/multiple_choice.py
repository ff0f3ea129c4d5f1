"""Benchmarks of multiple choice: accuracies with intervals, and arms compared item by item."""

from collections.abc import Mapping, Sequence

import pandas as pd

from muonlab.declare import table
from muonlab.report.choices import accuracy_table, contrast_table, correct


@table(
    section="evaluation",
    outputs={
        "benchmark_accuracy": (
            "benchmarks of multiple choice",
            "Accuracy of the finished models of **{title}** on benchmarks of multiple choice, by "
            "the protocol of the lm-evaluation-harness: the model chooses the ending with the "
            "largest log-likelihood given the context (``acc``), or with the largest one per byte "
            "of the ending (``acc_norm``). ``low`` and ``high``: {interval} t interval over n = "
            "{n} seeds; ``item_low`` and ``item_high``: {interval} bootstrap interval over items. "
            "``chance`` is the accuracy of guessing; ``cut`` is the share of items that are longer "
            "than the model's context and lost their beginning. Protocol: {protocol}.",
        ),
        "benchmark_contrasts": (
            "benchmarks, arms compared item by item",
            "Differences of accuracies a − b between arms of **{title}**: paired t intervals over "
            "seeds, simultaneous over the pairs of one task and score, and {interval} bootstrap "
            "intervals over items. ``only_a`` and ``only_b`` count the items that only one of the "
            "two models of a seed got right, over all seeds; ``p_mcnemar`` has McNemar's exact p "
            "of each seed in turn. Protocol: {protocol}.",
        ),
    },
)
def multiple_choice(
    multiple_choice_records: pd.DataFrame,
    pairs: Sequence[Mapping],
    benchmarks: Mapping,
    study: dict,
) -> dict[str, pd.DataFrame]:
    items = correct(multiple_choice_records)
    resamples = benchmarks["resamples"]
    return {
        "benchmark_accuracy": accuracy_table(items, study, resamples),
        "benchmark_contrasts": contrast_table(items, pairs, study, resamples),
    }
