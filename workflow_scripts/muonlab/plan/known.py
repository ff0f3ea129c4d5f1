"""What is known about a study at one moment: its plan, the rounds of tuning proposed so far and,
after tuning, the chosen settings.

Jobs write the rounds and the choices to files while the workflow runs. Everything here is a
function of the contents of these files, so every cluster job that reads them finds the same runs.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from muonlab.plan.arms import ResolvedArm
from muonlab.plan.factors import Cell
from muonlab.plan.naming import flatten
from muonlab.plan.optimizers import OPTIMIZERS
from muonlab.plan.runs import Run, StudyPlan
from muonlab.plan.training import Training
from muonlab.plan.tuned_fields import Value, path_of
from muonlab.section import field_limits


# Compared by identity, as studies are.
@dataclass(frozen=True, eq=False)
class Known:
    """A study, the proposals of its later rounds in order, and its selection.

    `proposals` are the contents of round-2.json, round-3.json …; `selection` is the content of
    selection.json, or None while tuning has not finished.
    """

    study: StudyPlan
    proposals: Sequence[Mapping[str, Any]] = ()
    selection: Mapping[str, Any] | None = None

    @cached_property
    def values(self) -> dict[str, Any]:
        """The plain values that were asked for so far, by their names (see `plan.needs`)."""
        return {}

    @cached_property
    def trials(self) -> dict[str, list[dict[str, Value]]]:
        """The settings of each tuned arm's trials, in the order in which they were proposed."""
        trials = {
            name: [trial.settings for trial in arm.trials]
            for name, arm in self.study.tuned_arms.items()
        }
        for proposal in self.proposals:
            for arm, points in proposal["points"].items():
                # A round that was proposed for an earlier config may name an arm that no longer
                # exists.
                own = trials.get(arm, [])
                own += [dict(point) for point in points if point not in own]
        return trials

    @property
    def spaces(self) -> dict[str, Mapping]:
        """The search space of each tuned arm, as the last round left it."""
        if self.proposals:
            return dict(self.proposals[-1]["spaces"])
        return {name: arm.space for name, arm in self.study.tuned_arms.items()}

    @property
    def budgets(self) -> dict[str, dict]:
        """The number of trials that each tuned arm may have, and whether it is searched alone,
        since it has declared another search than the other arms."""
        return {
            name: {"budget": arm.budget, "alone": arm.alone}
            for name, arm in self.study.tuned_arms.items()
        }

    @property
    def limits(self) -> dict[str, dict]:
        """For each tuned arm, the (lowest, highest) value of each field that its optimizer
        allows."""
        return {
            name: tuned_limits(arm.settings["optimizer"]["name"])
            for name, arm in self.study.tuned_arms.items()
        }

    @cached_property
    def tuning_runs(self) -> list[Run]:
        return self.study.tuning_runs(self.trials)

    @property
    def trial_records(self) -> list[dict]:
        """The arm, settings, seed and run name of each tuning run, as plain values."""
        return [
            {"arm": run.arm, "settings": run.settings, "seed": run.seed, "run": run.name}
            for run in self.tuning_runs
        ]

    @property
    def is_chosen(self) -> bool:
        """Whether the selection belongs to this study as it is configured now.

        The file may come from an earlier config, with arms or settings that no longer exist.
        """
        if self.selection is None:
            return False
        chosen = {name: arm["settings"] for name, arm in self.selection["arms"].items()}
        return all(chosen.get(name) in trials for name, trials in self.trials.items())

    def chosen(self, arm: str) -> dict[str, Value]:
        """The settings that tuning chose for `arm`, or for the base whose settings it takes."""
        return self.selection["arms"][self.study.arms[arm].tuned_by]["settings"]

    def edges(self, arm: ResolvedArm) -> dict[str, str]:
        """{field: side} for each chosen setting of an arm that lies on an edge of the search space.

        Fields that the arm sets itself are left out, since tuning did not choose them.
        """
        edges = self.selection["arms"][arm.tuned_by]["edges"]
        return {field: side for field, side in edges.items() if field not in arm.fixed}

    def reported_settings(self, arm: ResolvedArm) -> dict[str, Value]:
        """The values that an arm's reporting runs have in the tuned fields."""
        chosen = self.chosen(arm.name)
        own = flatten({"optimizer": arm.optimizer(chosen), "training": arm.training(chosen)})
        return {field: own[path_of(field)] for field in chosen if path_of(field) in own}

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
        """The reporting run of one arm and seed. Raises KeyError if the study has none."""
        return self._by_seed[arm, seed]

    @cached_property
    def robustness_runs(self) -> list[tuple[str, float, Run]]:
        """(field, factor, run) for each run in which one chosen setting is multiplied by a
        factor."""
        arms = (self.study.robustness or {"arms": []})["arms"]
        return [
            found for arm in arms for found in self.study.robustness_runs(arm, self.chosen(arm))
        ]

    @cached_property
    def sensitivity_runs(self) -> list[Run]:
        """The runs over the grid of `sensitivity`."""
        asked = self.study.sensitivity
        return [] if asked is None else self.study.sensitivity_runs(self.chosen(asked["arm"]))

    @cached_property
    def factor_runs(self) -> list[tuple[Cell, Run]]:
        """The runs at the levels of the factors, some of which are reporting runs."""
        return [
            (cell, run)
            for cell in self.study.cells
            for run in self.study.factor_runs(cell, self.chosen(cell.arm.name))
        ]

    @property
    def possible_runs(self) -> Iterator[Run]:
        """Every run that may follow, whichever of the trials so far will be chosen."""
        for name, arm in self.study.arms.items():
            for settings in self.trials[arm.tuned_by]:
                yield from self.study.reporting_runs(name, settings)
                yield from (run for _, _, run in self.study.robustness_runs(name, settings))
                if (self.study.sensitivity or {}).get("arm") == name:
                    yield from self.study.sensitivity_runs(settings)
                for cell in self.study.cells:
                    if cell.arm.name == name:
                        yield from self.study.factor_runs(cell, settings)

    @property
    def later_runs(self) -> list[Run]:
        """The runs that are known only after tuning: reporting, robustness and sensitivity runs,
        and those at the levels of factors."""
        robustness = [run for _, _, run in self.robustness_runs]
        levels = [run for cell, run in self.factor_runs if not cell.is_own]
        return self.reporting_runs + robustness + self.sensitivity_runs + levels


@cache
def tuned_limits(optimizer: str) -> dict[str, tuple[float, float]]:
    """The (lowest, highest) allowed value of each field that tuning may choose for an optimizer,
    named as tuned fields are."""
    section = OPTIMIZERS[optimizer]
    limits = field_limits(section)
    rest = section.model_fields.get("adamw")
    if rest is not None:
        limits |= {f"adamw.{f}": ends for f, ends in field_limits(rest.annotation).items()}
    return limits | {f"training.{f}": ends for f, ends in field_limits(Training).items()}
