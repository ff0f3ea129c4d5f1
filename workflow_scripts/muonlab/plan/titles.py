"""What a run is called for a reader: its study, its arm, its settings and its seed.

The name of a run's folder says what is trained; it says nothing of the studies that asked for it.
"""

from collections.abc import Iterable, Iterator, Mapping

from muonlab.plan.known import Known
from muonlab.plan.runs import Run
from muonlab.plan.written import Written


class Titles:
    """The titles of a plan's runs, from what is known when they are asked for."""

    def __init__(self, written: Written):
        self.written = written
        self._titles: dict[str, str] = {}
        self._read: set[Known] = set()

    def of(self, run: str) -> str | None:
        """The title of a run, by the name of its folder; None if no study has such a run."""
        if run not in self._titles:
            for study in self.written.plan.studies.values():
                known = self.written.on_disk(study)
                if known not in self._read:
                    self._read.add(known)
                    # A run of two studies keeps the title of the first.
                    self._titles = dict(titles(known)) | self._titles
        return self._titles.get(run)


def titles(known: Known) -> Iterator[tuple[str, str]]:
    """(name, title) of each run of a study that is known."""
    for run in known.tuning_runs:
        yield run.name, _title(known, run, [_settings(run.settings)])
    if not known.is_chosen:
        return
    for field, factor, run in known.robustness_runs:
        yield run.name, _title(known, run, [f"{_field(field)} × {factor:g}"])
    for run in known.sensitivity_runs:
        yield run.name, _title(known, run, [_settings(run.settings)])
    for cell, run in known.factor_runs:
        factor = known.study.factors[cell.factor]
        level = factor["levels"][cell.level]["label"] or cell.level
        parts = [f"{factor['label'] or cell.factor} {level}"]
        if cell.lr_factor != 1:
            parts.append(f"lr × {cell.lr_factor:g}")
        yield run.name, _title(known, run, parts)
    # Last: where a level changes nothing, its runs are the arm's own.
    for run in known.reporting_runs:
        yield run.name, _title(known, run, [])


def _title(known: Known, run: Run, parts: Iterable[str]) -> str:
    seed = f"seed {run.seed}" if run.seed in known.study.seeds else f"tuning seed {run.seed}"
    words = [known.study.name, known.study.arms[run.arm].label, *parts, seed]
    return " · ".join(word for word in words if word)


def _settings(settings: Mapping) -> str:
    return ", ".join(f"{_field(name)} {_value(value)}" for name, value in settings.items())


def _field(name: str) -> str:
    """`training.warmup_steps` as "warmup steps"."""
    return name.rpartition(".")[2].replace("_", " ")


def _value(value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
