"""Reads the files that tuning jobs write: rounds and selections. A file is read again only if it
has changed."""

import json
import os
from collections.abc import Iterable, Sequence
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
    """The JSON in `path`. The file is read again only if it has changed."""
    state = os.stat(path)
    return _content(path, state.st_mtime_ns, state.st_size)


class Written:
    """Finds what is known about a plan's studies, in the results folder `root`."""

    def __init__(self, plan: Plan, root: str):
        self.plan, self.root = plan, root
        self._known: dict[tuple, Known] = {}
        self._configs: dict[str, dict] = {}
        self._indexed: set[int] = set()

    def known(self, study: str, rounds: Sequence[str], selection: str | None = None) -> Known:
        """What is known about a study from these files of rounds and from its selection.

        Returns the same object as long as none of the files changes.
        """
        files = [*rounds, *([selection] if selection else [])]
        state = (study, selection is not None, *((f, os.stat(f).st_mtime_ns) for f in files))
        if state not in self._known:
            chosen = read(selection) if selection else None
            proposals = [read(file) for file in rounds]
            self._known[state] = Known(self.plan.studies[study], proposals, chosen)
        return self._known[state]

    def on_disk(self, study: StudyPlan) -> Known:
        """What is known about a study from the files that exist now, whichever invocation wrote
        them."""
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
        """The config of a run, by the run's name. Raises UserError if no study has such a run.

        A name is computed from the settings, so the config of a run that was found never changes.
        """
        if run not in self._configs:
            for study in self.plan.studies.values():
                self._index(self.on_disk(study))
        if run not in self._configs:  # asked for by name before tuning has chosen
            for study in self.plan.studies.values():
                self._enter(self.on_disk(study).possible_runs)
        if run not in self._configs:
            raise UserError(
                f"no study of this configuration has a run named {run}; the table run_index of "
                "each study lists its runs"
            )
        return self._configs[run]

    def _index(self, known: Known) -> None:
        if id(known) in self._indexed:
            return
        self._indexed.add(id(known))
        self._enter(known.tuning_runs + (known.later_runs if known.is_chosen else []))

    def _enter(self, runs: Iterable[Run]) -> None:
        for run in runs:
            self._configs[run.name] = _with_all_kept(run, self._configs.get(run.name))


def _with_all_kept(run: Run, before: dict | None) -> dict:
    """The config of a run. If two studies share the run, it keeps what either of them needs."""
    if before is None or before["keep"] == run.config["keep"]:
        return run.config
    amounts = ("none", "end", "all")
    kept = [run.config["keep"], before["keep"]]
    snapshots = max((keep["snapshots"] for keep in kept), key=amounts.index)
    updates = any(keep["updates"] for keep in kept)
    return run.config | {"keep": {"snapshots": snapshots, "updates": updates}}
