"""Notices jobs that SLURM or Snakemake's plugin for it has forgotten, so that Snakemake does not
wait for them for ever.

The plugin asks the queue for the states of its jobs. It takes a job that the queue does not list
for one that is still to appear; but a controller forgets a job `MinJobAge` seconds after its end,
and one that ended while it was down may never be listed again. And if the queue does not answer at
all, the plugin loses sight of every job that it has asked for. So after some minutes in which the
queue answers, a job that it does not list, or one that ended without the plugin looking at it, is
decided by its outputs: if all of them were written since it was submitted, the job succeeded;
otherwise it failed, and the retries of the profile apply. A job that ran on unnoticed holds the
lock of its run, so a second attempt waits for it.

The watch is a thread of the running Snakemake. It uses what every executor of Snakemake for remote
jobs has (`active_jobs` with its `lock`, `report_job_success` and `report_job_error`) and the
scheduler's set of running jobs.
"""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS_BETWEEN_LOOKS = 60.0
# Longer than the queue takes to list a new job, and than the plugin looks at its jobs (at most five
# times a minute, if the queue does not answer).
PATIENCE_SECONDS = 600.0
CLOCK_SECONDS = 120.0  # by which the clock of a file server may differ
LIVING = {"PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "COMPLETING", "REQUEUED", "RESIZING"}


def listed(name: str) -> dict[str, str] | None:
    """The state of every job with this name that SLURM knows, by its id (<job>_<task> in an array);
    None if it does not answer."""
    command = ["squeue", "--noheader", "--array", "--states=all", "--format=%i %T"]
    command.append(f"--name={name}")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode:
        return None
    return dict(line.split()[:2] for line in done.stdout.splitlines() if len(line.split()) > 1)


def watch(workflow: Any, say: Callable[[str], None]) -> threading.Thread | None:
    """Starts watching if this Snakemake submits to SLURM; `say` shows a sentence to the user."""
    scheduler = workflow.scheduler
    executor = getattr(scheduler, "_executor", None)
    if not all(hasattr(executor, part) for part in ("run_uuid", "active_jobs", "lock")):
        return None
    seconds = float(os.environ.get("MUONLAB_PATIENCE", PATIENCE_SECONDS))
    watcher = Watcher(executor, scheduler.running, lambda: listed(executor.run_uuid), say, seconds)
    thread = threading.Thread(target=watcher.run, name="vanished jobs", daemon=True)
    thread.start()
    return thread


@dataclass
class Submission:
    """A submitted attempt of a job, with the times since which something is so, or None."""

    info: Any
    attempt: int
    seen: float
    unheld: float | None = None  # the plugin does not have it among its active jobs
    gone: float | None = None  # the queue does not list it, or as ended


class Watcher:
    """Watches the submitted jobs of one executor. `running` are the scheduler's jobs that have not
    ended, and `ask` returns what the queue lists."""

    def __init__(
        self,
        executor: Any,
        running: Container,
        ask: Callable[[], Mapping[str, str] | None],
        say: Callable[[str], None],
        patience: float = PATIENCE_SECONDS,
    ):
        self.executor, self.running, self.ask, self.say = executor, running, ask, say
        self.patience = patience
        self.submitted: dict[str, Submission] = {}

    def run(self) -> None:
        """Looks again and again until the executor has ended."""
        while self.executor.wait:
            self.look(time.monotonic())
            time.sleep(min(SECONDS_BETWEEN_LOOKS, self.patience / 4))

    def look(self, now: float) -> None:
        """Compares the submitted jobs with the queue, and decides those gone for too long."""
        held = self._update(now)
        states = self.ask()
        for job, one in list(self.submitted.items()):
            if states is None:  # nobody can say now; the time does not count
                one.gone = None
                continue
            # What the plugin holds it also asks for; it reports the end itself.
            alive = job in states and (job in held or states[job] in LIVING)
            one.gone = None if alive else now if one.gone is None else one.gone
            if one.gone is None or now - one.gone < self.patience:
                continue
            if job in held or now - one.unheld >= self.patience:
                self._decide(job, one)

    def _update(self, now: float) -> set[str]:
        """Brings `submitted` up to date; returns the ids of the jobs that the plugin holds."""
        with self.executor.lock:
            # It is empty while the plugin looks at its jobs.
            active = {str(info.external_jobid): info for info in self.executor.active_jobs}
        for job, info in active.items():
            self.submitted.setdefault(job, Submission(info, info.job.attempt, time.time()))
        for job, one in list(self.submitted.items()):
            if one.info.job not in self.running or one.info.job.attempt != one.attempt:
                del self.submitted[job]  # it has ended, or is being tried again
            elif job in active:
                one.unheld = None
            elif one.unheld is None:
                one.unheld = now
        return set(active)

    def _decide(self, job: str, one: Submission) -> None:
        with self.executor.lock:
            if one.info in self.executor.active_jobs:
                self.executor.active_jobs.remove(one.info)
            elif one.unheld is None:
                return  # the plugin is looking at it just now
        del self.submitted[job]
        absent = [str(file) for file in one.info.job.output if not _is_new(file, one.seen)]
        lost = f"SLURM or Snakemake has forgotten job {job} ({one.info.job.name})"
        if absent:
            sentence = f"{lost}, and {absent[0]} was not written: the job counts as failed."
            self.say(sentence)
            self.executor.report_job_error(one.info, msg=sentence + " ")
        else:
            self.say(f"{lost}, and its outputs are all there: the job counts as done.")
            self.executor.report_job_success(one.info)


def _is_new(file: Any, since: float) -> bool:
    """Whether the file was written after this time, by the clock of its file system."""
    try:
        return Path(file).stat().st_mtime >= since - CLOCK_SECONDS
    except OSError:
        return False
