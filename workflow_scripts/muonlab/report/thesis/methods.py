"""The chapter of methods: the protocol, and of each study its data, model, arms and tuning, as the
runs were configured."""

from collections.abc import Iterator, Mapping, Sequence

from muonlab.report.documents.blocks import (
    Block,
    Grid,
    Heading,
    Items,
    escaped,
    grid,
    inline,
    plain,
)
from muonlab.report.numbers import number
from muonlab.report.thesis.evidence import Study
from muonlab.report.thesis.frame import chapter, paragraph

MODEL, TRAINING, OPTIMIZER = "model.", "training.", "optimizer."
BESIDE = 3  # how many parts of a long table of short rows stand beside each other
# Settings of the training that a reader expects first.
FIRST = ("steps", "epochs", "batch_size", "schedule", "warmup_steps", "final_lr_fraction", "clip")

PROTOCOL = (
    "*Equal budgets.* Each tuned arm has the same number of trials over as many fields, and its "
    "own box of rates, moments and the ratio of the embedding's rate to that of the matrices; "
    "what is found on an edge widens the box of every arm.",
    "*Separate seeds.* Settings are chosen on tuning seeds and reported on others.",
    "*Pairs.* For one seed all arms have the same initial weights, batches and evaluation data, "
    "so a difference is taken seed by seed.",
    "*One change at a time.* An arm is its base with one field changed; compound arms are marked.",
    "*Families.* Each claim is a family of comparisons whose intervals hold together "
    "(Bonferroni). A verdict is read off that interval alone: better or worse where it excludes "
    "zero, equivalent where it lies within the smallest difference of interest, otherwise "
    "undecided, with the number of seeds that would decide it at a power of 80 %. Fewer than four "
    "seeds give no verdict.",
    "*Equal loss.* Spectra, curvature and quantization are compared at the end and at losses "
    "that every run of both arms passed.",
    "*Divergence is a result.* A run that diverges is recorded and ranked last, never dropped.",
)


def methodology(studies: Mapping[str, Study]) -> Iterator[Block]:
    yield chapter("Methodology")
    yield Heading(2, plain("Protocol"))
    yield Items(tuple(inline(text) for text in PROTOCOL))
    yield paragraph(
        "The published protocol of a study repeats what its source did, faults included where "
        "they can be switched on; the fair one is the default. The workflow is written in "
        "Snakemake [@molder2021snakemake]."
    )
    yield Heading(2, plain("The optimizers"))
    yield paragraph(
        "Muon keeps a momentum of the gradient of each hidden matrix and replaces it by an "
        "approximate polar factor, found by Newton–Schulz iteration, scaled so that the root mean "
        "square of the update follows that of AdamW [@liu2025muon]. Embeddings, heads and vectors "
        "are trained by AdamW, whose rate is tuned apart. SGD-like baselines, NorMuon, AdaMuon, "
        "Dion and SOAP are arms of the same form."
    )
    for study in studies.values():
        yield from _study(study)


def _study(study: Study) -> Iterator[Block]:
    facts = study.facts
    first = next(iter(study.settings.values()))
    yield Heading(2, plain(study.title))
    yield paragraph(
        f"Data: {escaped(facts['data'])}. {len(facts['arms'])} arms, {study.n} reporting "
        f"{'seed' if study.n == 1 else 'seeds'} ({_listed(facts['seeds'])}), tuning seeds "
        f"{_listed(facts['tuning']['seeds'])}. Intervals have the level {facts['interval']} over "
        f"each family; the smallest differences of interest are {_smallest(facts)}."
    )
    yield beside(
        ("Setting", "Value"),
        [*_settings(first, MODEL), *_settings(first, TRAINING, FIRST)],
        f"Model and training of the arms of {escaped(study.title)}, unless an arm says otherwise.",
    )
    yield from _tuning(study)
    yield grid(
        ("Arm", "Base", "Tuned", "Settings that tuning chose"),
        [_arm(arm) for arm in facts["arms"]],
        f"The arms of {escaped(study.title)}. What is not tuned takes over its base's settings.",
    )
    yield _optimizers(study)


def beside(header: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> Grid:
    """A table of short rows, set in three parts beside each other, to be read down each part."""
    height = -(-len(rows) // BESIDE)
    empty = ("",) * len(header)
    padded = [*rows, *[empty] * (BESIDE * height - len(rows))]
    lines = [sum((tuple(row) for row in padded[i::height]), ()) for i in range(height)]
    return grid(tuple(header) * BESIDE, lines, caption)


def _optimizers(study: Study) -> Grid:
    """The settings of AdamW and of Muon, as their runs record them, beside each other."""
    labels = {arm["name"]: arm["label"] for arm in study.facts["arms"]}
    arms = [name for name in ("adamw", "muon") if name in study.settings]
    own = {arm: dict(_settings(study.settings[arm], OPTIMIZER)) for arm in arms}
    names = dict.fromkeys(name for arm in arms for name in own[arm])
    rows = [(name, *(own[arm].get(name, "—") for arm in arms)) for name in names]
    return grid(
        ("Setting of the optimizer", *(escaped(labels[arm]) for arm in arms)),
        rows,
        f"The optimizers of {escaped(study.title)}, as the runs record them. —: the optimizer has "
        "no such setting, or it is unset.",
    )


def _tuning(study: Study) -> Iterator[Block]:
    facts = study.facts
    if not facts["trials"]:
        return
    seeds = len(facts["tuning"]["seeds"])
    method = facts["tuning"]["method"]
    rows = []
    labels = {arm["name"]: arm["label"] for arm in facts["arms"]}
    alone = {arm["name"]: arm.get("alone") for arm in facts["arms"]}
    for arm, count in facts["trials"].items():
        space = "; ".join(f"{field} {_range(ends)}" for field, ends in facts["spaces"][arm].items())
        own = " (own search)" if alone[arm] else ""
        rows.append((escaped(labels[arm]) + own, count, count * seeds, escaped(space)))
    yield grid(
        ("Tuned arm", "Trials", "Runs", "Searched"),
        rows,
        f"The tuning budget of {escaped(study.title)}: method {method}, {seeds} seeds a trial. "
        "Arms with a search of their own are declared so and enter no fair comparison.",
    )


def _arm(arm: Mapping) -> Sequence[str]:
    settings = ", ".join(f"{k} = {_value(v)}" for k, v in arm["settings"].items())
    edges = ", ".join(f"{k} {side}" for k, side in arm["edges"].items())
    warned = f" **(edge: {edges})**" if edges and arm["tuned"] else ""
    mark = ", compound" if arm["compound"] else ""
    tuned = "yes" if arm["tuned"] else "no"
    base = escaped(arm["base"] or "—")
    return escaped(arm["label"]) + mark, base, tuned, escaped(settings) + warned


def _settings(
    settings: Mapping, prefix: str, first: Sequence[str] = ()
) -> Iterator[tuple[str, str]]:
    own = {k.removeprefix(prefix): v for k, v in settings.items() if k.startswith(prefix)}
    own = {k: v for k, v in own.items() if v is not None and v != []}
    for name in dict.fromkeys([*(name for name in first if name in own), *own]):
        title = prefix.rstrip(".") if name == "name" else name.replace("_", " ")
        yield title, escaped(_value(own[name]))


def _smallest(facts: Mapping) -> str:
    own = facts["smallest"]
    told = [f"{number(v)} for the {name.replace('_', ' ')}" for name, v in own.items()]
    return ", ".join(told) or "not declared"


def _range(ends: object) -> str:
    if isinstance(ends, Mapping):
        low, high = ends.get("low"), ends.get("high")
        scale = " (log)" if ends.get("log") else ""
        return f"{_value(low)} to {_value(high)}{scale}"
    return _value(ends)


def _listed(values: Sequence) -> str:
    return ", ".join(str(value) for value in values)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}".replace("-", "−")
    if isinstance(value, (list, tuple)):
        return ", ".join(_value(each) for each in value)
    return str(value)
