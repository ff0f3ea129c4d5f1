"""What a user sees while Snakemake runs: jobs by what they are about, how far the whole has come,
and, if a job fails, its one sentence last.

Snakemake logs through Python's `logging`; this formatter takes the place of its own on the console
alone. Its log file under .snakemake/log keeps every line as it was. A logger plugin, which has a
formatter of its own, and `--verbose` are left alone.
"""

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from muonlab.jobs.pace import Pace

SECONDS_BETWEEN_SAYING = 10.0  # how far it has come
# Lines of Snakemake that say nothing that the others do not.
NOISE = re.compile(
    r"Select jobs to execute\.\.\.|Execute \d+ jobs\.\.\.|Finished jobid: .*|"
    r"DAG of jobs will be updated after completion\.|Updating checkpoint dependencies\.|"
    r"Using shell: .*|Provided cores: .*|"
    r"Rules claiming more threads will be scaled down\.|Conda environments: ignored|"
    r"Assuming unrestricted shared filesystem usage\."
)
AT_THE_END = "At least one job did not complete successfully."
SCRIPT_FAILED = re.compile(r"CalledProcessError in file .*returned non-zero exit status", re.DOTALL)


class Failure(NamedTuple):
    """A job that failed for good or for this attempt: what it was about, its logs, and what the
    executor says of it (that a cluster's time limit ended it, say)."""

    title: str
    logs: Sequence[str]
    message: str = ""

    @property
    def sentence(self) -> str:
        """Why it failed: the sentence that the job left last in its log."""
        for log in self.logs:
            said = [line for line in _lines(log) if line.startswith("error: ")]
            if said:
                return f"{self.title}: {said[-1].removeprefix('error: ')}"
        where = f"; see {', '.join(self.logs)}" if self.logs else ""
        return f"{self.title}: {self.message or 'the job ended without a word'}{where}"


class Console(logging.Formatter):
    """Formats what Snakemake logs for the user.

    `usual` is Snakemake's own formatter; `title(rule, wildcards)` gives what a job is about, or
    None where the rule's message says it; `ahead` gives the jobs that will follow, by rule; `quiet`
    says that this call only shows what it would do, and everything is as usual.
    """

    def __init__(
        self,
        usual: logging.Formatter,
        title: Callable[[str, Mapping[str, str]], str | None],
        ahead: Callable[[], Mapping[str, int]],
        quiet: Callable[[], bool],
    ):
        super().__init__()
        self.usual, self.title, self.ahead, self.quiet = usual, title, ahead, quiet
        self.pace: Pace | None = None
        self.titles: dict[int, str] = {}
        self.failures: dict[int, Failure] = {}
        self.said = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is shown. Records that are not shown are counted."""
        event = _event(record)
        if self.quiet():
            return True
        if event == "job_finished" and self.pace:
            self.pace.ends(record.__dict__.get("job_id"))
        if event == "progress" and self.pace:
            self.pace.reaches(record.done, record.total)
            return self._is_due(record)
        if event == "error" and SCRIPT_FAILED.search(record.getMessage()):
            return False  # the sentence of the job says more, and comes before and after it
        return not NOISE.fullmatch(str(record.msg).strip())

    def format(self, record: logging.LogRecord) -> str:
        """The text of a record."""
        if self.quiet():
            return self.usual.format(record)
        event = _event(record)
        if event == "run_info" and getattr(record, "stats", None):
            return self._begins(record.stats)
        if event == "job_info":
            return self._starts(record)
        if event == "progress" and self.pace:
            return f"{_clock()} {self.pace.sentence()}"
        if event == "job_error":
            return self._fails(record)
        if AT_THE_END in str(record.msg) and self.failures:
            return "\n".join(self.sentences())
        return self.usual.format(record)

    def sentences(self) -> list[str]:
        """A sentence for each job that failed."""
        return [f"error: {failure.sentence}" for failure in self.failures.values()]

    def _begins(self, stats: Mapping[str, int]) -> str:
        planned = {rule: jobs for rule, jobs in stats.items() if rule != "total"}
        ahead = self.ahead()
        self.pace = Pace(planned, ahead)
        said = f"{sum(planned.values()):,} jobs to do"
        if sum(ahead.values()):
            said += f"; about {sum(ahead.values()):,} more follow when tuning has chosen settings"
        return f"{said}.\nEvery job, with its files, is in the log under .snakemake/log."

    def _starts(self, record: logging.LogRecord) -> str:
        rule, job = record.rule_name, record.jobid
        title = self.title(rule, record.wildcards or {}) or record.rule_msg or rule
        self.titles[job] = title
        self.failures.pop(job, None)  # it is tried again
        if self.pace:
            self.pace.starts(job, rule)
        return f"{_clock()} {title}"

    def _fails(self, record: logging.LogRecord) -> str:
        title = self.titles.get(record.jobid, record.rule_name)
        message = (record.rule_msg or "").strip()
        self.failures[record.jobid] = Failure(title, list(record.log), message.rstrip("."))
        aux = "".join(f", {name} {value}" for name, value in (record.aux or {}).items())
        logs = f" (log: {', '.join(record.log)})" if record.log else ""
        return f"{_clock()} Failed: {title}{aux}{logs}" + (f"\n  {message}" if message else "")

    def _is_due(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if record.done < record.total and now - self.said < SECONDS_BETWEEN_SAYING:
            return False
        self.said = now
        return True


def install(
    title: Callable[[str, Mapping[str, str]], str | None],
    ahead: Callable[[], Mapping[str, int]],
    quiet: Callable[[], bool],
    logger: logging.Logger,
) -> None:
    """Puts a `Console` on each handler of `logger` that writes to the console with Snakemake's own
    formatter."""
    if logger.isEnabledFor(logging.DEBUG):
        return
    for handler in logger.handlers:
        usual = handler.formatter
        on_console = isinstance(handler, logging.StreamHandler) and not isinstance(
            handler, logging.FileHandler
        )
        if on_console and type(usual).__name__ == "DefaultFormatter":
            console = Console(usual, title, ahead, quiet)
            handler.setFormatter(console)
            handler.addFilter(console.filter)


def _event(record: logging.LogRecord) -> str | None:
    event = getattr(record, "event", None)
    return None if event is None else event.name.lower()


def _clock() -> str:
    return time.strftime("%H:%M:%S")


def _lines(log: str) -> list[str]:
    try:
        return Path(log).read_text(errors="replace").splitlines()
    except OSError:
        return []
