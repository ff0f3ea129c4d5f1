"""A copy of the workflow in a folder of its own, with a study that takes seconds: what the tests of
the workflow, of faults and of SLURM share."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PARTS = ("Snakefile", "config.yaml", "rules", "workflow_scripts", "envs", "profiles", "studies")
TRAINING = ("train_trial", "train_run")
# Rules of what all studies make together, which follow after any change of a study.
ACROSS = ("compile_", "draw_", "compose_", "fill_", "typeset_")
# The default studies without the arms that these tests do not need, tuned over a grid. It lies
# between the default configuration and the overlay of a test.
CORE = """\
studies:
  fashion:
    arms:
      {frozen: null, muon_at_adamw_rate: null, adamw_at_muon_rate: null, adamw_cosine: null,
       muon_cosine: null}
    tuning: {method: grid, extensions: 0}
    measure: {anchors: {frozen: null}}
  moe:
    arms:
      {frozen: null, no_ns_tuned: null, no_momentum_tuned: null, neither_tuned: null,
       source_adamw: null, source_muon: null, no_leak_adamw: null, no_leak_muon: null,
       decay_adamw: null, decay_muon: null, init_adamw: null, init_muon: null,
       adamw_125: null, adamw_150: null, adamw_200: null}
    tuning: {method: grid, grid: {lr: [0.01]}, extensions: 0}
    sensitivity: null
    measure:
      anchors: {frozen: null, without_momentum: no_momentum}
      waterfall: []
      speed_up: null
      factorials:
        - {label: same rate, both: muon, without_first: no_ns, without_second: no_momentum,
           neither: neither}
        - {label: matched step, both: muon_rms, without_first: no_ns_rms,
           without_second: no_momentum_rms, neither: neither_rms}
"""
TINY = """\
studies:
  moe: null
  ablation: null
  dynamics: null
  comparison: null
  fashion:
    training: {epochs: 2, eval_every: 10, log_every: 5}
    arms: {muon_hybrid: null}
    tuning: {seeds: [1001], grid: {lr: [0.003, 0.01]}}
    seeds: [1, 2]
"""


@dataclass
class Outcome:
    """What a call of Snakemake did; `log` is the log that it kept, with every job's beginning and
    end."""

    code: int
    out: str
    err: str
    log: str = ""

    @property
    def jobs(self) -> Counter:
        """How often each rule was run, or would be: read off the lines that announce jobs."""
        table = re.findall(r"^(\w+) +(\d+)$", self.out + self.err, re.MULTILINE)
        return Counter({rule: int(n) for rule, n in table if rule != "total"})

    @property
    def finished(self) -> Counter:
        """How often each rule was really run."""
        return Counter(re.findall(r"Finished jobid: \d+ \(Rule: (\w+)\)", self.log))

    @property
    def of_studies(self) -> dict[str, int]:
        """`finished` without what all studies make together."""
        return {rule: n for rule, n in self.finished.items() if not rule.startswith(ACROSS)}

    @property
    def trained(self) -> int:
        """How many runs were trained, for tuning and for reporting."""
        return sum(self.finished[rule] for rule in TRAINING)

    @property
    def nothing_to_do(self) -> bool:
        return "Nothing to be done" in self.out + self.err


class Project:
    """A checkout of the workflow."""

    def __init__(self, folder: Path):
        self.folder = folder

    def snakemake(self, *arguments: str, overlay: str = "tiny.yaml", timeout: int = 600) -> Outcome:
        command = [sys.executable, "-m", "snakemake", "--cores", "2"]
        if overlay:
            # A user's file, whose mistakes are looked for, lies over the default one alone.
            core = [] if overlay == "user.yaml" else ["core.yaml"]
            command += ["--configfile", *core, *overlay.split()]
        environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
        before = set(self.logs)
        done = subprocess.run(
            [*command, "--", *arguments] if not _options(arguments) else [*command, *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=environment,
        )
        log = "".join(file.read_text() for file in self.logs if file not in before)
        return Outcome(done.returncode, done.stdout, done.stderr, log)

    @property
    def logs(self) -> list[Path]:
        """The logs of all calls of Snakemake so far."""
        return sorted((self.folder / ".snakemake" / "log").glob("*.snakemake.log"))

    def edit(self, path: str, old: str, new: str) -> None:
        file = self.folder / path
        text = file.read_text()
        assert old in text, f"{path} has no {old!r}"
        file.write_text(text.replace(old, new, 1))

    def copy_to(self, folder: Path) -> "Project":
        """The project with its results and records, time stamps kept."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Project(folder)


def _options(arguments: tuple[str, ...]) -> bool:
    return any(argument.startswith("-") for argument in arguments)


def checkout(folder: Path) -> Project:
    folder.mkdir(parents=True)
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / part, ignore=ignore)
        else:
            shutil.copy2(source, folder / part)
    (folder / "core.yaml").write_text(CORE)
    (folder / "tiny.yaml").write_text(TINY)
    return Project(folder)
