"""How far the jobs of a call of Snakemake have come, and how long the rest will take."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping

# Seconds of a job of which none has ended yet, by the start of its rule's name.
SECONDS = {"prepare_": 4.0, "train_": 3.0, "measure_": 1.0, "tabulate_": 1.0, "plot_": 2.0}
OTHER_SECONDS = 1.0
# So many jobs must have ended, and so many seconds passed, before the pace says anything.
FEWEST_JOBS, FEWEST_SECONDS = 5, 20.0


class Pace:
    """Counts jobs as they start and end. `planned` is what Snakemake's graph holds at the start,
    by rule; `ahead` is what will be added to it; `clock` gives seconds."""

    def __init__(
        self,
        planned: Mapping[str, int],
        ahead: Mapping[str, int],
        clock: Callable[[], float] = time.monotonic,
    ):
        self.clock, self.begun = clock, clock()
        self.left = Counter()
        for rule, jobs in [*planned.items(), *ahead.items()]:
            self.left[kind(rule)] += jobs
        self.expected = sum(self.left.values())
        self.done, self.total = 0, 0
        self.share = 0.0
        self._started: dict[int, tuple[str, float]] = {}
        self._seconds: dict[str, list[float]] = defaultdict(list)

    def starts(self, job: int, rule: str) -> None:
        """A job starts, or is submitted."""
        self._started[job] = (kind(rule), self.clock())

    def ends(self, job: int) -> None:
        """A job has ended well."""
        if job not in self._started:
            return
        which, begun = self._started.pop(job)
        self._seconds[which].append(self.clock() - begun)
        self.left[which] -= 1

    def reaches(self, done: int, total: int) -> None:
        """`done` jobs have ended, and Snakemake's graph holds `total` now."""
        self.done, self.total = done, total
        self.expected = max(total, self.expected if done < total else total)
        self.share = max(self.share, done / self.expected)

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the end if the rest goes as the jobs so far; None as long as too few have
        ended to tell."""
        elapsed = self.clock() - self.begun
        worked = sum(map(sum, self._seconds.values()))
        if self.done < FEWEST_JOBS or elapsed < FEWEST_SECONDS or not worked:
            return None
        counted = {which: max(0, jobs) for which, jobs in self.left.items()}
        # What neither the graph nor the plan had foreseen, such as a search that goes on.
        more = max(0, self.expected - self.done - sum(counted.values()))
        work = sum(jobs * self._typical(which) for which, jobs in counted.items())
        work += more * worked / sum(map(len, self._seconds.values()))
        return work * elapsed / worked

    def _typical(self, which: str) -> float:
        seen = self._seconds.get(which)
        return sum(seen) / len(seen) if seen else SECONDS.get(which, OTHER_SECONDS)

    def sentence(self) -> str:
        """What the console says of it: "12 of about 1,513 jobs done (0.8 %), about 14 min left"."""
        about = "about " if self.expected > self.total else ""
        said = f"{self.done:,} of {about}{self.expected:,} jobs done ({percent(self.share)})"
        seconds = self.seconds_left
        if seconds is not None and self.done < self.expected:
            said += f", about {duration(seconds)} left"
        return said


def kind(rule: str) -> str:
    """Rules whose jobs take about as long: those with one beginning, such as `plot_`."""
    return next((prefix for prefix in SECONDS if rule.startswith(prefix)), "")


def percent(share: float) -> str:
    """A share as a percentage that is 100 at the end alone."""
    if share >= 1:
        return "100 %"
    return f"{share * 100:.1f} %" if share < 0.1 else f"{min(99, round(share * 100))} %"


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them: "40 s", "14 min", "2 h 5 min"."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
