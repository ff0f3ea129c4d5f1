"""Projects whose jobs go through SLURM, and waiting for what they do."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from checkouts import Project, checkout

PATIENCE = float(os.environ.get("MUONLAB_TEST_PATIENCE", "1"))  # more on a busy machine
OPTIONS = ["--workflow-profile", "profiles/slurm", "--slurm-init-seconds-before-status-checks", "3"]
# The test's machine has no GPU that torch sees, so training runs on the CPU and writes down which
# GPU SLURM gave it, and in which job.
ON_CPU = 'device="cuda" if snakemake.resources.gpu else "cpu",', 'device="cpu",'
SEEN = (
    "with logged(snakemake.log[0]) as progress:\n",
    """with logged(snakemake.log[0]) as progress:
    import os

    with open("seen.txt", "a") as seen:
        job, gpus = (os.environ.get(v) for v in ("SLURM_JOB_ID", "CUDA_VISIBLE_DEVICES"))
        seen.write(f"{snakemake.wildcards.run} {job} {gpus}\\n")
""",
)


BEGUN: list["Driver"] = []  # of the test that runs


class Driver:
    """A running Snakemake that submits to SLURM."""

    def __init__(self, project: "Submitted", process: subprocess.Popen):
        self.project, self.process = project, process

    def succeed(self, seconds: float = 300) -> None:
        """Waits until it has made everything."""
        assert self.end(seconds) == 0, self.project.said[-4000:]

    def wait_until(self, true, seconds: float, what: str) -> None:
        """Waits until something is true, which needs this Snakemake to run on."""

        def true_or_over() -> bool:
            return true() or self.process.poll() is not None

        wait_until(true_or_over, seconds, what)
        assert true(), f"Snakemake ended before {what}:\n{self.project.said[-4000:]}"

    def end(self, seconds: float = 120) -> int:
        try:
            return self.process.wait(seconds * PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"no end in sight:\n{self.project.said[-4000:]}") from None


def end_all() -> None:
    """Ends what a failed test has left running, which would slow the next one down."""
    while BEGUN:
        process = BEGUN.pop().process
        if process.poll() is None:
            process.kill()
            process.wait()


class Submitted(Project):
    """A checkout whose Snakemake submits to SLURM."""

    def begin(self, *arguments: str, overlays: str = "quick.yaml", **environment: str) -> Driver:
        """Starts Snakemake, whose output goes to driver.log."""
        command = [sys.executable, "-m", "snakemake", *OPTIONS, *arguments]
        command += ["--configfile", "core.yaml", *overlays.split()]
        with (self.folder / "driver.log").open("a") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"} | environment,
                # The signal may be ignored where the tests run, in the background of a shell, say.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
        BEGUN.append(driver := Driver(self, process))
        return driver

    @property
    def said(self) -> str:
        return (self.folder / "driver.log").read_text()

    def seen(self) -> list[list[str]]:
        """[run, job of SLURM, GPUs] of every training run that began."""
        file = self.folder / "seen.txt"
        return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


def watched(folder: Path, overlay: str) -> Submitted:
    """A checkout with this overlay whose training notes where it ran."""
    project = Submitted(checkout(folder).folder)
    project.edit("workflow_scripts/train.py", *ON_CPU)
    project.edit("workflow_scripts/train.py", *SEEN)
    (project.folder / "quick.yaml").write_text(overlay)
    return project


def wait_until(true, seconds: float, what: str) -> None:
    until = time.monotonic() + seconds * PATIENCE
    while not true():
        assert time.monotonic() < until, f"{what} did not come in {seconds * PATIENCE:.0f} s"
        time.sleep(0.2)
