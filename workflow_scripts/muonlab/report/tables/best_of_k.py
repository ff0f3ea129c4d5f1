"""What a smaller tuning budget would be expected to find."""

from collections.abc import Mapping

import pandas as pd

from muonlab.declare import table
from muonlab.tuning.budget import best_of_k_table
from muonlab.tuning.selection import scored_trials


@table(
    section="tables",
    outputs={
        "best_of_k": (
            "tuning budget",
            "The score that k of an arm's tuning trials are expected to find (Dodge et al. 2019, "
            "without replacement: the mean over all subsets of k trials), its standard deviation "
            "and median for one search, and the {interval} bootstrap interval over trials, which "
            "is too narrow where k is near the number of all trials. Scores are means over tuning "
            "seeds on *{data}*, and look better than new runs would, as the lowest of several "
            "always does. ``p_diverged`` is the chance that all k trials diverge; ``expected`` is "
            "then infinite.",
        ),
    },
)
def best_of_k(selection: Mapping, study: dict) -> pd.DataFrame:
    """One row for each arm that was tuned and each k from 1 to all of its trials.

    `selection` is selection.json. A trial's score is that by which it was chosen, its mean over
    tuning seeds; a diverged one has an infinite score.
    """
    scores = {}
    for arm in [arm["name"] for arm in study["arms"] if arm["tuned"]]:
        trials = [trial for trial in selection["trials"] if trial["arm"] == arm]
        scores[arm] = [trial["score"] for trial in scored_trials(trials, selection["score"])]
    facts = {"score": selection["score"], "tuning_seeds": len(selection["seeds"])}
    facts |= {"data": study["data"], "protocol": study["protocol"]}
    return best_of_k_table(scores, alpha=study["alpha"]).assign(**facts)
