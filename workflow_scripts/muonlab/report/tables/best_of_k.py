"""The score that a smaller tuning budget would be expected to find."""

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
            "seeds on *{data}*, of the trials of the first round alone, since later rounds depend "
            "on it. They look better than new runs would, because the lowest of "
            "several scores is partly luck. ``p_diverged`` is the probability that all k trials "
            "diverge; if it is above 0, ``expected`` is infinite.",
        ),
    },
)
def best_of_k(selection: Mapping, study: dict, first_trials: Mapping[str, int]) -> pd.DataFrame:
    """One row for each tuned arm and each k from 1 to the number of its first round's trials.

    `selection` is selection.json, and `first_trials` has that number for each arm; the trials of
    later rounds depend on earlier ones and are no random sample of the space. A trial's score is
    its mean loss over the tuning seeds; a diverged trial has an infinite score.
    """
    scores = {}
    for arm in [arm["name"] for arm in study["arms"] if arm["tuned"]]:
        trials = [trial for trial in selection["trials"] if trial["arm"] == arm]
        scored = scored_trials(trials, selection["score"])[: first_trials[arm]]
        scores[arm] = [trial["score"] for trial in scored]
    facts = {"score": selection["score"], "tuning_seeds": len(selection["seeds"])}
    facts |= {"data": study["data"], "protocol": study["protocol"]}
    return best_of_k_table(scores, alpha=study["alpha"]).assign(**facts)
