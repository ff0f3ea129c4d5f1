"""The chapters around the results: abstract, introduction, related work, discussion, conclusion.

What they say of the literature is prose; what they say of this study is computed.
"""

from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from muonlab.report.claim_words import by_claim, summary_sentence
from muonlab.report.documents.blocks import (
    Block,
    Heading,
    Items,
    Paragraph,
    escaped,
    grid,
    inline,
    plain,
)
from muonlab.report.thesis.evidence import Study, fair
from muonlab.report.thesis.questions import Question
from muonlab.statistics.decisions import DEPENDS, FAILS, HOLDS, NOT_RUN
from muonlab.statistics.verdicts import MIN_SEEDS


def chapter(title: str, label: str = "") -> Heading:
    return Heading(1, plain(title), label)


def paragraph(markdown: str) -> Paragraph:
    return Paragraph(inline(markdown), markdown.startswith("**Warning"))


def abstract(
    studies: Mapping[str, Study], claims: pd.DataFrame, asked: Sequence[Question]
) -> Iterator[Block]:
    own = fair(studies)
    data = ", ".join(dict.fromkeys(escaped(study.facts["data"]) for study in own))
    runs = sum(len(study.tables["runs"]) for study in studies.values())
    yield paragraph(
        f"Muon orthogonalizes the momentum of each weight matrix before it is applied. Public "
        f"write-ups report that it beats AdamW, and disagree on why. This thesis runs their "
        f"experiments under one protocol: an equal tuning budget for both optimizers, tuning seeds "
        f"that are not reported, paired runs, simultaneous intervals, and comparisons at equal "
        f"loss. It rests on {runs} reported runs in {len(studies)} "
        f"{'study' if len(studies) == 1 else 'studies'} on {data}."
    )
    yield paragraph(summary_sentence(claims))
    for question in asked[:3]:
        yield paragraph(f"*{question.asked}* {question.answer}")
    yield from embedded_warning(own)


def embedded_warning(studies: Sequence[Study]) -> Iterator[Block]:
    toy = sorted({escaped(s.facts["data"]) for s in studies if s.facts.get("embedded")})
    if toy:
        yield paragraph(
            f"**Warning:** {', '.join(toy)} are embedded data that stand in for the sources' own, "
            "and the models are small. What is found here need not hold at published size."
        )


def introduction(claims: pd.DataFrame) -> Iterator[Block]:
    yield chapter("Introduction")
    yield paragraph(
        "Training a neural network means choosing an optimizer, and for a decade the choice has "
        "been Adam [@kingma2015adam] or AdamW, which decouples weight decay from the gradient's "
        "scaling [@loshchilov2019decoupled]. Muon [@jordan2024muon] takes another road for the "
        "matrices of the hidden layers: it replaces the momentum by the nearest semi-orthogonal "
        "matrix, up to scale, so that every direction of the update has the same size."
    )
    yield paragraph(
        "Whether that helps, and through what, is an empirical question that is easily answered "
        "wrongly. A baseline whose rates are not tuned, a validation set that leaks, one seed, "
        "or a step that is larger on one side can each produce a gap of the size that is reported."
    )
    yield Heading(2, plain("Research questions"))
    yield paragraph(
        f"The literature makes {claims.number.nunique()} claims that can be tested here. "
        "Each has a rule, fixed before any run, that says which comparison decides it and what "
        "would refute it. Six questions of the research plan are answered at the end of this "
        "thesis."
    )
    rows = [(str(n), escaped(own.iloc[0].claim)) for n, own in by_claim(claims)]
    yield grid(("", "Published claim"), rows, "The claims that are tested.")
    yield Heading(2, plain("Contributions"))
    yield Items(
        tuple(
            inline(text)
            for text in (
                "one workflow that runs the experiments of five public write-ups under a published "
                "and a fair protocol, from data to this document;",
                "a verdict on each published claim with an interval, the number of seeds that "
                "would decide what is open, and the records behind it;",
                "a decomposition of published gaps into the corrections that close them;",
                "every number and every sentence on a finding in this text is computed from the "
                "records of runs: other records give other sentences.",
            )
        )
    )


def related_work() -> Iterator[Block]:
    yield chapter("Related work")
    yield Heading(2, plain("Optimizers for matrices"))
    yield paragraph(
        "Shampoo [@gupta2018shampoo] preconditions a matrix from both sides by roots of its "
        "gradients' second moments; SOAP [@vyas2024soap] runs Adam in the basis that Shampoo's "
        "preconditioners define. Without accumulation, Shampoo's update is the polar factor of the "
        "gradient: steepest descent under the spectral norm [@bernstein2024anthology]. Muon "
        "[@jordan2024muon] applies this to the momentum and computes the polar factor by a few "
        "Newton–Schulz steps with tuned coefficients; Polar Express [@amsel2025polar] chooses the "
        "polynomial of each step optimally."
    )
    yield paragraph(
        "Muon was scaled to large language models with weight decay and an update whose root mean "
        "square matches AdamW's [@liu2025muon]. Variants normalise the orthogonalized update by "
        "neuron [@li2025normuon] or by element [@si2025adamuon], or orthogonalize at low rank so "
        "that it can be distributed [@ahn2025dion]. Its advantage has been traced to the value, "
        "output and feed-forward matrices, which act as associative memories [@wang2025tail]."
    )
    yield Heading(2, plain("Comparing optimizers"))
    yield paragraph(
        "Rankings of optimizers depend on how they are tuned: with a wide enough search the more "
        "general optimizer never loses [@choi2019empirical], and over many problems no optimizer "
        "dominates [@schmidt2021crowded]. For pre-training, carefully tuned baselines shrink the "
        "speed-up of matrix optimizers to between 1.1 and 1.4 [@wen2025fantastic]; a second large "
        "benchmark finds the ranking to depend on model size and on training length "
        "[@semenov2025benchmarking]. What a budget of trials buys should be reported with the "
        "result [@dodge2019show]. That no difference was found says little unless equivalence was "
        "tested [@lakens2017equivalence]."
    )
    yield Heading(2, plain("Geometry of the solution"))
    yield paragraph(
        "The largest eigenvalue of the Hessian rises during training until it is bounded by the "
        "learning rate [@cohen2021edge], so that sharpness compares optimizers only beside their "
        "rates. It is measured here by Lanczos iteration; PyHessian [@yao2020pyhessian] is a "
        "second solver."
    )


def discussion(studies: Mapping[str, Study], claims: pd.DataFrame) -> Iterator[Block]:
    yield chapter("Discussion")
    yield paragraph(summary_sentence(claims))
    for word, head in (
        (HOLDS, "What holds"),
        (FAILS, "What does not hold"),
        (DEPENDS, "What depends on the study"),
    ):
        own = [rows.iloc[0] for _, rows in by_claim(claims) if rows.iloc[0].verdict == word]
        if own:
            yield Heading(2, plain(head))
            yield Items(tuple(inline(f"{escaped(row.claim)} {_rule(row)}") for row in own))
    opened = [
        rows.iloc[0]
        for _, rows in by_claim(claims)
        if rows.iloc[0].verdict not in (HOLDS, FAILS, DEPENDS, NOT_RUN)
    ]
    if opened:
        yield Heading(2, plain("What remains open"))
        yield Items(tuple(inline(f"{escaped(row.claim)} *{row.verdict}*") for row in opened))
    yield Heading(2, plain("Limitations"), "limitations")
    yield Items(tuple(inline(text) for text in limitations(studies, claims)))


def limitations(studies: Mapping[str, Study], claims: pd.DataFrame) -> Iterator[str]:
    """What weakens the results, read off the records."""
    for study in fair(studies):
        facts, name = study.facts, escaped(study.title)
        if facts.get("embedded"):
            yield f"{name} uses embedded data ({escaped(facts['data'])}) and a small model."
        if study.n < MIN_SEEDS:
            yield f"{name} has {study.n} seeds, too few for any verdict."
        edges = [arm for arm in facts["arms"] if arm["edges"] and arm["tuned"]]
        for arm in edges:
            fields = ", ".join(f"{field} {side}" for field, side in arm["edges"].items())
            yield (
                f"{name}: what tuning chose for {escaped(arm['label'])} lies on an edge of its "
                f"search space ({fields}); better settings may lie outside."
            )
        checks = study.tables.get("anchor_checks")
        if checks is not None:
            for row in checks[checks.result == "fail"].itertuples():
                yield f"{name} fails the anchor check “{row.check}”: {escaped(row.reason)}."
    missing = [rows.iloc[0] for _, rows in by_claim(claims) if rows.iloc[0].verdict == NOT_RUN]
    if missing:
        numbers = ", ".join(str(row.number) for row in missing)
        yield f"The claims {numbers} were not run in this configuration."
    yield (
        "Intervals assume that differences over seeds are normal; with few seeds this cannot be "
        "checked."
    )


def conclusion(asked: Sequence[Question], claims: pd.DataFrame) -> Iterator[Block]:
    yield chapter("The six questions")
    for question in asked:
        yield Heading(2, plain(question.asked))
        yield paragraph(f"**{question.answer}**")
        if question.evidence:
            yield Items(tuple(inline(escaped(line)) for line in question.evidence))
    yield chapter("Recommendations and conclusion")
    yield Heading(2, plain("Recommendations"))
    yield Items(tuple(inline(text) for text in recommendations(asked, claims)))
    yield Heading(2, plain("Conclusion"))
    yield paragraph(summary_sentence(claims))
    for question in asked:
        yield paragraph(f"*{question.asked}* {question.answer}")


def recommendations(asked: Sequence[Question], claims: pd.DataFrame) -> Iterator[str]:
    yield from (escaped(line) for line in asked[-1].evidence)
    words = {number: rows.iloc[0].verdict for number, rows in by_claim(claims)}
    if words.get(4) not in (None, HOLDS, NOT_RUN):
        yield "Keep five Newton–Schulz steps: that ten are better is not shown."
    if words.get(6) == HOLDS:
        yield "Keep Nesterov's momentum."
    if words.get(18) == HOLDS:
        yield "Do not pay for an exact polar factor: the shape of the spectrum hardly matters."
    yield (
        "Tune the rate of the embedding apart from that of the matrices, for both optimizers, "
        "before they are compared."
    )


def _rule(row) -> str:
    return f"({escaped(row.rule)})"
