"""What is known of a study at one moment: its plan, the rounds of tuning proposed so far, and, once
tuning has been run, what it chose.

Rounds and choices are files that jobs write while the workflow runs. Everything here is a function
of their contents, so that each job of a cluster finds the same runs by reading the same files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from muonlab.plan.arms import ResolvedArm, Value
from muonlab.plan.optimizers import OPTIMIZERS
from muonlab.plan.runs import Run, StudyPlan
from muonlab.section import field_limits


@dataclass(frozen=True)
class Known:
    """A study, the proposals of its later rounds in their order, and its selection.

    `proposals` are the contents of round-2.json, round-3.json …; `selection` is that of
    selection.json, or None where tuning has not been run to its end.
    """

    study: StudyPlan
    proposals: Sequence[Mapping[str, Any]] = ()
    selection: Mapping[str, Any] | None = None

    @cached_property
    def trials(self) -> dict[str, list[dict[str, Value]]]:
        """The settings of each tuned arm's trials, in the order in which they were proposed."""
        trials = {
            name: [trial.settings for trial in arm.trials]
            for name, arm in self.study.tuned_arms.items()
        }
        for proposal in self.proposals:
            for arm, points in proposal["points"].items():
                # A round that was proposed for an earlier config may name an arm that is gone.
                own = trials.get(arm, [])
                own += [dict(point) for point in points if point not in own]
        return trials

    @property
    def spaces(self) -> dict[str, Mapping]:
        """The search space of each tuned arm, as wide as the last round made it."""
        if self.proposals:
            return dict(self.proposals[-1]["spaces"])
        return {name: arm.space for name, arm in self.study.tuned_arms.items()}

    @property
    def limits(self) -> dict[str, dict]:
        """What each tuned arm's optimizer allows its fields: (lowest, highest), by field."""
        return {
            name: field_limits(OPTIMIZERS[arm.settings["optimizer"]["name"]])
            for name, arm in self.study.tuned_arms.items()
        }

    @cached_property
    def tuning_runs(self) -> list[Run]:
        return self.study.tuning_runs(self.trials)

    @property
    def trial_records(self) -> list[dict]:
        """Arm, settings, seed and run of each tuning run, as plain values."""
        return [
            {"arm": run.arm, "settings": run.settings, "seed": run.seed, "run": run.name}
            for run in self.tuning_runs
        ]

    @property
    def is_chosen(self) -> bool:
        """Whether the selection is one of this study: an earlier config may have left another,
        with arms or settings that are no more."""
        if self.selection is None:
            return False
        chosen = {name: arm["settings"] for name, arm in self.selection["arms"].items()}
        return all(chosen.get(name) in trials for name, trials in self.trials.items())

    @property
    def target_loss(self) -> float:
        return self.selection["target_loss"]

    def chosen(self, arm: str) -> dict[str, Value]:
        """What tuning chose for `arm`, or for the arm whose tuning it takes over."""
        return self.selection["arms"][self.study.arms[arm].tuned_by]["settings"]

    def edges(self, arm: ResolvedArm) -> dict[str, str]:
        """The edges of the search space that an arm rests on: of what tuning chose for it, not of
        what the arm sets itself."""
        edges = self.selection["arms"][arm.tuned_by]["edges"]
        return {field: side for field, side in edges.items() if field not in arm.fixed}

    def reported_settings(self, arm: ResolvedArm) -> dict[str, Value]:
        """The values with which an arm is reported, of the fields that its tuning chose from."""
        chosen = self.chosen(arm.name)
        optimizer = arm.optimizer(chosen)
        return {field: optimizer[field] for field in chosen if field in optimizer}

    @cached_property
    def reporting_runs(self) -> list[Run]:
        return [
            run
            for arm in self.study.arms
            for run in self.study.reporting_runs(arm, self.chosen(arm))
        ]

    @cached_property
    def _by_seed(self) -> dict[tuple[str, str], Run]:
        return {(run.arm, str(run.seed)): run for run in self.reporting_runs}

    def reporting_run(self, arm: str, seed: str) -> Run:
        """The run behind one arm and seed; KeyError where the study has none."""
        return self._by_seed[arm, seed]

    @cached_property
    def robustness_runs(self) -> list[tuple[str, float, Run]]:
        """(field, factor, run) of each run with one chosen setting multiplied."""
        arms = (self.study.robustness or {"arms": []})["arms"]
        return [
            found for arm in arms for found in self.study.robustness_runs(arm, self.chosen(arm))
        ]

    @property
    def later_runs(self) -> list[Run]:
        """The runs that follow from the choice."""
        return self.reporting_runs + [run for _, _, run in self.robustness_runs]
