"""What jobs of tuning have written, rounds and choices: each file is read once for each state."""

import json
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from muonlab.io.errors import UserError
from muonlab.plan.known import Known
from muonlab.plan.runs import Plan, Run, StudyPlan


@cache
def _content(path: str, modified: int, size: int) -> Any:
    return json.loads(Path(path).read_text())


def read(path: str) -> Any:
    """The JSON in `path`, read again only where the file has changed."""
    state = os.stat(path)
    return _content(path, state.st_mtime_ns, state.st_size)


class Written:
    """Finds what is known of a plan's studies in the folder `root`."""

    def __init__(self, plan: Plan, root: str):
        self.plan, self.root = plan, root
        self._known: dict[tuple, Known] = {}
        self._configs: dict[str, dict] = {}
        self._indexed: set[int] = set()

    def known(self, study: str, rounds: Sequence[str], selection: str | None = None) -> Known:
        """A study with these files of rounds, and of its selection; the same object while none of
        the files changes."""
        files = [*rounds, *([selection] if selection else [])]
        state = (study, selection is not None, *((f, os.stat(f).st_mtime_ns) for f in files))
        if state not in self._known:
            chosen = read(selection) if selection else None
            proposals = [read(file) for file in rounds]
            self._known[state] = Known(self.plan.studies[study], proposals, chosen)
        return self._known[state]

    def on_disk(self, study: StudyPlan) -> Known:
        """What the files of a study say now, whoever wrote them."""
        folder = f"{self.root}/{study.name}/tuning"
        rounds = [f"{folder}/round-{n}.json" for n in range(2, study.rounds + 1)]
        present = []
        for file in rounds:
            if not os.path.exists(file):
                break
            present.append(file)
        selection = f"{folder}/selection.json"
        return self.known(study.name, present, selection if os.path.exists(selection) else None)

    def config(self, run: str) -> dict:
        """The settings of a run, by its name; raises UserError where no study has it.

        A name is a function of the settings, so that a run once found stays what it is.
        """
        if run not in self._configs:
            for study in self.plan.studies.values():
                self._index(self.on_disk(study))
        if run not in self._configs:
            raise UserError(
                f"no study of this configuration has a run named {run}; the tables run_index of "
                "the studies list those that there are"
            )
        return self._configs[run]

    def _index(self, known: Known) -> None:
        if id(known) in self._indexed:
            return
        self._indexed.add(id(known))
        for run in known.tuning_runs + (known.later_runs if known.is_chosen else []):
            self._configs[run.name] = _with_all_kept(run, self._configs.get(run.name))


def _with_all_kept(run: Run, before: dict | None) -> dict:
    """The run's config; of a run that two studies ask for, what either of them needs is kept."""
    if before is None or before["keep"] == run.config["keep"]:
        return run.config
    amounts = ("none", "end", "all")
    kept = [run.config["keep"], before["keep"]]
    snapshots = max((keep["snapshots"] for keep in kept), key=amounts.index)
    updates = any(keep["updates"] for keep in kept)
    return run.config | {"keep": {"snapshots": snapshots, "updates": updates}}
