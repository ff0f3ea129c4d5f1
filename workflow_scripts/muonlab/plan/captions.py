"""Captions of the report: templates from the declarations, filled in with facts about a study."""

import re
from functools import cache

from muonlab.io.errors import UserError
from muonlab.plan.known import Known
from muonlab.plan.registry import Output
from muonlab.plan.values import percent

# Names of the test and of the effect size, for paired runs and for runs that are not paired.
PAIRED = (
    "paired t tests over seeds, Welch's test as the check",
    "Cohen's d_z of the paired differences",
)
UNPAIRED = ("Welch's test, since runs are not paired", "Hedges' g")


def as_text(words: str) -> str:
    """Text from a config as reStructuredText, in which no character of it is markup."""
    return re.sub(r"([\\\\*`|_<>])", r"\\\1", words)


@cache
def caption_words(known: Known) -> dict[str, str | int | float]:
    """The values of the words that a caption's template may contain in braces."""
    study, arms = known.study, list(known.study.arms.values())
    training = arms[0].settings["training"]
    test, effect = PAIRED if training["paired"] else UNPAIRED
    alpha = study.measure["contrasts"]["alpha"]
    rates = [
        f"{as_text(arm.label)} {known.reported_settings(arm).get('lr', '')}".strip()
        for arm in known.study.tuned_arms.values()
    ]
    return {
        "title": as_text(study.title),
        "data": study.data,
        "protocol": study.protocol,
        "n": len(study.seeds),
        "alpha": alpha,
        "interval": percent(alpha),
        "split": training["evaluate_on"],
        "levels": study.measure["levels"],
        "rates": ", ".join(rates) or "none is tuned",
        "against": study.measure["ranking"] or "",
        "test": test,
        "effect": effect,
    }


def caption(output: Output, known: Known) -> str:
    """The caption of an output, with a warning for each arm whose chosen settings lie on an edge.

    Raises UserError if the template contains an unknown word in braces.
    """
    words = caption_words(known)
    try:
        told = output.caption.format(**words)
    except (KeyError, IndexError, ValueError) as failure:
        raise UserError(
            f"caption of {output.name}: {failure} is not one of the words that a caption may have "
            f"in braces ({', '.join(words)})"
        ) from failure
    return "\n\n".join([told, *edge_warnings(known)])


@cache
def edge_warnings(known: Known) -> list[str]:
    """A sentence for each tuned arm whose chosen settings lie on an edge of its search space."""
    found = []
    for arm in known.study.tuned_arms.values():
        edges = [f"{field} {side}" for field, side in sorted(known.edges(arm).items())]
        if edges:
            label = as_text(arm.label)
            found.append(
                f"**Warning:** the settings that tuning chose for {label} lie on an edge of "
                f"its search space ({', '.join(edges)}); better ones may lie outside."
            )
    return found
