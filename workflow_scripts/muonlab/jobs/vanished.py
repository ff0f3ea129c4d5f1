"""Notices jobs that SLURM no longer knows, so that Snakemake does not wait for them for ever.

Snakemake's plugin for SLURM asks the queue for the states of its jobs, and takes one that the queue
does not list for one that is still to appear. A job can be missing for good: the controller forgets
a job after `MinJobAge` seconds, and one that ended while the controller or its accounting was down
may never be listed again. After some minutes in which the queue answers and does not list a job,
its outputs decide: if all of them were written since it was submitted, the job succeeded; otherwise
it failed, and the retries of the profile apply. A job that ran on unnoticed holds the lock of its
run, so a second attempt waits for it.

The watch is a thread of the running Snakemake. It uses what every executor of Snakemake for remote
jobs has: `active_jobs` with its `lock`, `report_job_success` and `report_job_error`.
"""

import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECONDS_BETWEEN_LOOKS = 60.0
# Much longer than the queue takes to list a new job, and than a controller takes to read its state.
PATIENCE_SECONDS = 600.0
CLOCK_SECONDS = 120.0  # by which the clock of a file server may differ


def listed(name: str) -> set[str] | None:
    """The ids of all jobs with this name that SLURM knows, elements of arrays as <job>_<task>; None
    if it does not answer."""
    command = ["squeue", "--noheader", "--array", "--states=all", "--format=%i", f"--name={name}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return set(done.stdout.split()) if done.returncode == 0 else None


def watch(workflow: Any, say: Callable[[str], None]) -> threading.Thread | None:
    """Starts watching if this Snakemake submits to SLURM; `say` shows a sentence to the user."""
    executor = getattr(workflow.scheduler, "_executor", None)
    if not all(hasattr(executor, part) for part in ("run_uuid", "active_jobs", "lock")):
        return None
    seconds = float(os.environ.get("MUONLAB_PATIENCE", PATIENCE_SECONDS))
    watcher = Watcher(executor, lambda: listed(executor.run_uuid), say, seconds)
    thread = threading.Thread(target=watcher.run, name="vanished jobs", daemon=True)
    thread.start()
    return thread


class Watcher:
    """Watches the submitted jobs of one executor. `ask` returns what the queue lists."""

    def __init__(
        self,
        executor: Any,
        ask: Callable[[], set[str] | None],
        say: Callable[[str], None],
        patience: float = PATIENCE_SECONDS,
    ):
        self.executor, self.ask, self.say, self.patience = executor, ask, say, patience
        self.submitted: dict[str, float] = {}  # job id → when it was first seen here
        self.missing: dict[str, float] = {}  # job id → since when the queue has not listed it

    def run(self) -> None:
        """Looks again and again until the executor has ended."""
        while self.executor.wait:
            self.look(time.monotonic())
            time.sleep(min(SECONDS_BETWEEN_LOOKS, self.patience / 4))

    def look(self, now: float) -> None:
        """Compares the executor's jobs with the queue, and decides those missing for too long."""
        with self.executor.lock:
            # It is empty while the plugin looks at its jobs; those are then judged the next time.
            active = {str(info.external_jobid): info for info in self.executor.active_jobs}
        for job in active:
            self.submitted.setdefault(job, time.time())
        known = self.ask()
        if known is None:  # nobody can say now; the time does not count
            self.missing.clear()
            return
        self.missing = {job: since for job, since in self.missing.items() if job not in known}
        for job, info in active.items():
            if job not in known and now - self.missing.setdefault(job, now) >= self.patience:
                self._decide(job, info)

    def _decide(self, job: str, info: Any) -> None:
        with self.executor.lock:
            if info not in self.executor.active_jobs:
                return  # the plugin is looking at it just now
            self.executor.active_jobs.remove(info)
        del self.missing[job]
        absent = [str(file) for file in info.job.output if not self._is_new(file, job)]
        lost = f"SLURM no longer knows job {job} ({info.job.name})"
        if absent:
            sentence = f"{lost}, and {absent[0]} was not written: the job counts as failed."
            self.say(sentence)
            self.executor.report_job_error(info, msg=sentence + " ")
        else:
            self.say(f"{lost}, and its outputs are all there: the job counts as done.")
            self.executor.report_job_success(info)

    def _is_new(self, file: Any, job: str) -> bool:
        try:
            return Path(file).stat().st_mtime >= self.submitted[job] - CLOCK_SECONDS
        except OSError:
            return False
