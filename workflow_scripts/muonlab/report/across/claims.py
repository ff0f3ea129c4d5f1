"""What survives of each published claim: the source's number beside ours, and the verdict."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from muonlab.declare import table
from muonlab.report.claim_tests import Tested, tested
from muonlab.statistics.decisions import NOT_RUN, Answer, all_of, over_studies

FAIR, PUBLISHED = "fair", "published"
# What is read of a comparison under each protocol.
SIDES = ("value", "low", "high", "n", "verdict", "answer")
COLUMNS = ["number", "claim", "short", "study", "data", "comparison", "unit", "expected"]
COLUMNS += ["source", "source_quantity", "source_printed", "source_value", "source_unit"]
COLUMNS += ["source_where", "source_is_same"]
COLUMNS += [f"{PUBLISHED}_{side}" for side in SIDES] + [f"{FAIR}_{side}" for side in SIDES]
COLUMNS += ["decides", "verdict_in_study", "needs_n", "verdict", "published_verdict"]
COLUMNS += ["rule", "warnings", "missing", "records"]


@table(
    section="claims",
    outputs={
        "claims": (
            "claims",
            "Every published claim, how it is tested and what the records of *{name}* say of it: "
            "one row for each comparison. ``source_value`` is the number that the source prints "
            "(a difference where it prints two), ``source_is_same`` whether it is about the same "
            "arms; ``published_…`` is our number under the source's own protocol and ``fair_…`` "
            "under the fair one, with simultaneous intervals. ``decides`` lists the protocols "
            "under which the comparison decides; ``verdict_in_study`` is the answer of the study "
            "under fair, ``verdict`` that of all studies. Data: {data}.",
        ),
    },
)
def claims(
    claim_rules: Sequence[dict],
    facts: Mapping[str, dict],
    claim_tables: Mapping[str, Mapping[str, Path]],
) -> pd.DataFrame:
    tables = {
        study: {name: pd.read_csv(file) for name, file in own.items()}
        for study, own in claim_tables.items()
    }
    return claims_table(claim_rules, facts, tables)


def claims_table(
    claims: Sequence[dict],
    facts: Mapping[str, dict],
    tables: Mapping[str, Mapping[str, pd.DataFrame]],
) -> pd.DataFrame:
    """One row for each comparison of each claim in each study, the comparisons of both protocols
    side by side. `facts` and `tables` are by study; a study under the published protocol has the
    same `base` as the fair one."""
    rows = []
    for claim in claims:
        own = [row for test in claim["tests"] for row in _study(claim, test, facts, tables)]
        answers = {row["study"]: row["_fair"] for row in own}
        ran = {row["study"]: row["_published"] for row in own}
        whole, before = over_studies(list(answers.values())), over_studies(list(ran.values()))
        for row in own:
            row |= {"verdict": str(whole), "needs_n": whole.needs_n}
            row |= {"verdict_in_study": str(row.pop("_fair"))}
            row |= {"published_verdict": str(before)}
            row.pop("_published")
        rows += own
    return pd.DataFrame(rows, columns=COLUMNS)


def _study(
    claim: Mapping, test: Mapping, facts: Mapping[str, dict], tables: Mapping[str, Mapping]
) -> list[dict]:
    """The rows of one claim in one study, with the answers under both protocols."""
    found: dict[str, list[list[Tested]]] = {}
    names = {}
    for protocol in (FAIR, PUBLISHED):
        name = _named(facts, test["study"], protocol)
        names[protocol] = name
        own, study = tables.get(name or "", {}), facts.get(name or "", {"arms": []})
        found[protocol] = [tested(part, own, study) for part in test["parts"]]
        if name is None:
            reason = f"the study {test['study']} is not run under {protocol}"
            found[protocol] = [[_not_run(one, reason) for one in part] for part in found[protocol]]
    answers = {p: _answer(test["parts"], found[p], p) for p in (FAIR, PUBLISHED)}
    rows = []
    for i, part in enumerate(test["parts"]):
        fair = {one.comparison: one for one in found[FAIR][i]}
        published = {one.comparison: one for one in found[PUBLISHED][i]}
        comparisons = _shown(fair, published)
        for comparison in comparisons:
            pair = {FAIR: fair.get(comparison), PUBLISHED: published.get(comparison)}
            row = {"number": claim["number"], "claim": claim["words"], "short": claim["short"]}
            row |= {"study": test["study"], "comparison": comparison, "unit": part["unit"]}
            row |= {"expected": _expected(part)}
            first = facts.get(names[FAIR] or names[PUBLISHED] or "", {})
            row |= {"data": first.get("data", "")} | _source(part["source"])
            row |= {"decides": ", ".join(part["decides"]), "rule": claim["rule"]}
            for protocol, one in pair.items():
                row |= _side(protocol, one)
            row |= {"warnings": " ".join(_warnings(pair)), "missing": _missing(pair[FAIR])}
            row |= {"records": _records(part, names)}
            rows.append(row | {"_fair": answers[FAIR], "_published": answers[PUBLISHED]})
    return rows


def _expected(part: Mapping) -> str:
    """What the claim expects of the number: "lower", "higher", "not higher" or "1.1 to 1.5"."""
    return (
        " to ".join(f"{end:g}" for end in part["within"]) if "within" in part else part["expected"]
    )


def _named(facts: Mapping[str, dict], study: str, protocol: str) -> str | None:
    """The study under this protocol, if the configuration has it."""
    for name, own in facts.items():
        if own["base"] == study and own["protocol"] == protocol:
            return name
    return None


def _not_run(one: Tested, reason: str) -> Tested:
    return Tested(one.comparison, reason=reason)


def _answer(parts: Sequence[Mapping], found: Sequence[Sequence[Tested]], protocol: str) -> Answer:
    return all_of(
        [
            one.answer
            for part, own in zip(parts, found, strict=True)
            if protocol in part["decides"]
            for one in own
        ]
    )


def _shown(fair: Mapping[str, Tested], published: Mapping[str, Tested]) -> list[str]:
    """The comparisons of a part: those that were run, or else the one that says why not."""
    run = [c for own in (fair, published) for c, one in own.items() if one.answer.word != NOT_RUN]
    return list(dict.fromkeys(run or [*fair]))


def _side(protocol: str, one: Tested | None) -> dict[str, Any]:
    if one is None:
        one = Tested("")
    numbers = {side: getattr(one, side) for side in ("value", "low", "high", "n", "verdict")}
    return {f"{protocol}_{k}": v for k, v in (numbers | {"answer": str(one.answer)}).items()}


def _source(source: Mapping) -> dict[str, Any]:
    printed = [float(each) for each in source["printed"]]
    value = np.nan
    if len(printed) == 2:
        a, b = printed
        value = 100 * (a / b - 1) if source["relative"] else a - b
    elif printed:
        value = printed[0]
    return {
        "source": source["title"],
        "source_quantity": source["quantity"],
        "source_printed": ", ".join(f"{each:g}" for each in printed),
        "source_value": value,
        "source_unit": source["unit"],
        "source_where": source["where"],
        "source_is_same": source["same"],
    }


def _warnings(pair: Mapping[str, Tested | None]) -> Iterator[str]:
    for protocol, one in pair.items():
        if one is None or one.answer.word == NOT_RUN:
            continue
        if one.edge:
            yield f"Under {protocol} a tuned setting lies on an edge of its search space."
        if one.compound:
            yield f"Under {protocol} the arms differ in more than one setting."
        if one.reason:
            yield f"Under {protocol}: {one.reason.rstrip('.')}."


def _missing(fair: Tested | None) -> str:
    """Why the comparison was not run under the fair protocol."""
    return fair.reason if fair is not None and fair.answer.word == NOT_RUN else ""


def _records(part: Mapping, names: Mapping[str, str | None]) -> str:
    ran = [name for name in names.values() if name]
    return ", ".join(f"{name}/tables/{part['table']}.csv" for name in ran)
