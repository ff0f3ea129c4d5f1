"""The published claims as plain values: their sentences, rules and tests, and the sources' numbers.

The rules are in `report/claims.yaml`, the numbers in `report/sources.yaml`; both files explain
their fields.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from muonlab.plan.published import read_sources
from muonlab.plan.validate import read_yaml

CLAIMS = Path(__file__).parents[1] / "report" / "claims.yaml"
PROTOCOLS = ("fair", "published")
NOTHING = {"quantity": "", "unit": "", "printed": [], "where": "", "relative": False}


@cache
def claim_records() -> list[dict]:
    """Each claim with its number, words, short, rule, sources (titles) and tests.

    A test has a study and parts; a part has all of its fields, with `decides` filled in, and
    `source`: the number of the sources that is about the same arms and the same outcome of that
    study, or else the first number of the claim (`same` says which of the two it is), or else the
    reason why there is none.
    """
    published = {claim["number"]: claim for claim in read_sources()["claims"]}
    titles = read_sources()["write_ups"]
    records = []
    for rule in read_yaml(CLAIMS)["claims"]:
        claim = published[rule["number"]]
        tests = [
            {
                "study": test["study"],
                "parts": [_part(part, test["study"], claim, titles) for part in test["parts"]],
            }
            for test in rule["tests"]
        ]
        record = {name: rule[name] for name in ("number", "short", "rule")}
        record |= {"words": claim["words"], "tests": tests}
        record["sources"] = [titles[source["write_up"]] for source in claim["sources"]]
        record["faults"] = [fault for s in claim["sources"] for fault in s["faults"]]
        records.append(record)
    return records


def claim_tables() -> dict[str, list[str]]:
    """The tables that the tests read, by study."""
    found: dict[str, list[str]] = {}
    for claim in claim_records():
        for test in claim["tests"]:
            own = found.setdefault(test["study"], [])
            own += [p["table"] for p in test["parts"] if p["table"] not in own]
    return found


def _part(part: Mapping, study: str, claim: Mapping, titles: Mapping[str, str]) -> dict:
    numbers = list(_numbers(claim, titles))
    own = [number for number in numbers if _is_about(number["ours"], part, study)]
    reasons = [f"{source['none']}" for source in claim["sources"] if "none" in source]
    printed = [number for number in numbers if number["printed"]]
    chosen = (own or printed or [NOTHING | {"where": " ".join(reasons), "title": ""}])[0]
    source = {name: chosen[name] for name in (*NOTHING, "title")} | {"same": bool(own)}
    return {"where": {}, "decides": list(PROTOCOLS)} | dict(part) | {"source": source}


def _numbers(claim: Mapping, titles: Mapping[str, str]) -> Iterator[dict]:
    for source in claim["sources"]:
        for number in source.get("numbers", ()):
            facts = {"title": titles[source["write_up"]], "ours": number.get("ours", {})}
            yield NOTHING | {k: v for k, v in number.items() if k != "ours"} | facts


def _is_about(ours: Mapping, part: Mapping, study: str) -> bool:
    arms = ours.get("a"), ours.get("b")
    return (
        ours.get("study") == study
        and ours.get("outcome") == part.get("outcome")
        and arms == (part.get("a"), part.get("b"))
    )
