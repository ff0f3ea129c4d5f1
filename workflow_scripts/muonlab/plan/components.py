"""Families of comparisons whose arms differ in which components Muon trains."""

from functools import cache

from muonlab.plan.arms import differences
from muonlab.plan.pairs import study_families
from muonlab.plan.runs import StudyPlan

CHANGED = {"optimizer", "optimizer.components"}
FEWEST = 3  # such arms, with one against which they are compared


@cache
def component_families(study: StudyPlan) -> list[dict]:
    """The declared families that compare at least three arms of different `components` with one
    arm, as plain values: name, claim, outcomes, `against`, and `arms`, {arm: the components that
    its matrix optimizer trains}, the arm `against` first."""
    found = []
    for family in study_families(study):
        shared = (
            set.intersection(*(set(pair) for pair in family["pairs"])) if family["pairs"] else set()
        )
        if not family["declared"] or len(family["pairs"]) < FEWEST or len(shared) != 1:
            continue
        [against] = shared
        others = [arm for pair in family["pairs"] for arm in pair if arm != against]
        trained = {arm: components_of(study, arm) for arm in (against, *others)}
        # AdamW differs from any of them in the optimizer as a whole, so they are compared with one
        # another.
        first = next((arm for arm in others if trained[arm]), others[0])
        alike = [set(differences(study.arms[arm], study.arms[first])) <= CHANGED for arm in trained]
        alike += [_optimizer(study, arm) == _optimizer(study, first) for arm in others]
        if all(alike) and len(set(map(tuple, trained.values()))) > FEWEST - 1:
            told = {name: family[name] for name in ("name", "claim", "outcomes")}
            found.append(told | {"against": against, "arms": trained})
    return found


def _optimizer(study: StudyPlan, arm: str) -> dict:
    """The arm's optimizer without its components."""
    settings = study.arms[arm].settings["optimizer"]
    return {field: value for field, value in settings.items() if field != "components"}


def components_of(study: StudyPlan, arm: str) -> list[str]:
    """The components that an arm's optimizer for matrices trains; none for AdamW."""
    present = study.arms[arm].settings["optimizer"].get("components") or []
    model = study.arms[arm].settings["model"]
    return [name for name in present if name in _present(model)]


def _present(model: dict) -> set[str]:
    """The components that the model has."""
    if model["name"] != "transformer":
        return {"input", "hidden", "output"}
    attention = {"query_key_value"} if model["fused_attention"] else {"query", "key", "value"}
    parts = {"up", "down"} | ({"gate"} if model["activation"] == "swiglu" else set())
    if model["experts"]:
        parts = {f"expert_{part}" for part in parts} | {"router"}
    ends = {"embedding"} if model["tied"] else {"embedding", "head"}
    return attention | {"attention_output"} | parts | ends
