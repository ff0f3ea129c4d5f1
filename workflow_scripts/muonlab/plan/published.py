"""What the published sources print, as far as a study's arms can give the same numbers.

The numbers are in `report/sources.yaml`, which also explains its fields.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from muonlab.plan.validate import read_yaml

if TYPE_CHECKING:
    from muonlab.plan.runs import StudyPlan

SOURCES = Path(__file__).parents[1] / "report" / "sources.yaml"


@cache
def read_sources() -> dict:
    """`write_ups` (titles by name) and `claims`, as the file has them."""
    return read_yaml(SOURCES)


def published_numbers(plan: "StudyPlan") -> list[dict]:
    """Each number of the sources, and each question that they leave without one, that arms of the
    study can answer: plain values, one record for a row of the table published_numbers.

    `printed` has no, one or two numbers; `b` is None where a single arm is asked for.
    """
    name = plan.name
    if plan.protocol == "published":
        name = name.removesuffix("_published")
    return [
        record
        for record in _records()
        if record["study"] == name and {record["a"], record["b"] or record["a"]} <= set(plan.arms)
    ]


def _records() -> Iterator[dict]:
    titles = read_sources()["write_ups"]
    for claim in read_sources()["claims"]:
        for source in claim["sources"]:
            facts = {
                "claim": claim["number"],
                "words": claim["words"],
                "source": titles[source["write_up"]],
                "faults": " ".join(source["faults"]),
            }
            asked = [
                one | {"printed": [], "where": source["none"]} for one in source.get("ask", ())
            ]
            for number in [*source.get("numbers", ()), *asked]:
                if "ours" in number:
                    given = {"relative": False} | number | {"b": None} | number["ours"]
                    yield facts | {k: v for k, v in given.items() if k != "ours"}
