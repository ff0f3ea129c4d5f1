"""How long planning takes with thousands of runs, beside a bare workflow with as many jobs.

    python benchmarks/dag_scale.py --runs 5000

Plans the tuning runs of a study with 3 sizes × optimizers × learning rates × seeds, without
training anything: records are made up, and `snakemake --touch` makes Snakemake believe in them.
Three calls are timed: a plan from nothing (`dry run`), a call with nothing to do (`no-op`), and a
plan after one run's record was removed (`one stale`). Most of the benchmark's own time is
`--touch`, in which Snakemake pauses after each job. `bare` is the same call on a workflow of a
few lines with as many jobs, files, params and checksums: what Snakemake itself takes. `share` is
the difference, and the lines below say in which of our modules it is spent, by a profile, whose
overhead makes these numbers larger than they are.
"""

import argparse
import json
import math
import os
import pstats
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "workflow_scripts"))

from muonlab.plan.known import Known  # noqa: E402
from muonlab.plan.runs import load_plan  # noqa: E402
from muonlab.tuning.selection import select_trials  # noqa: E402

PARTS = ("Snakefile", "config.yaml", "rules", "workflow_scripts", "envs", "profiles", "studies")
WIDTHS = (8, 15, 30)
OPTIMIZERS = ("adamw", "muon")
SEEDS = 5
OURS = ("workflow_scripts/", "rules/", "Snakefile")
SNAKEMAKE = "import sys; from snakemake.cli import main; main(sys.argv[1:])"


def overlay(runs: int) -> dict:
    """A configuration of one study with at least this many tuning runs."""
    rates = math.ceil(runs / (len(WIDTHS) * len(OPTIMIZERS) * SEEDS))
    arms = {name: None for name in _default_arms()} | {
        "adamw": {"label": "AdamW", "optimizer": "adamw"},
        "muon": {"label": "Muon", "base": "adamw", "optimizer": "muon"},
    }
    for width in WIDTHS:
        if width != 15:
            for name in OPTIMIZERS:
                arms[f"{name}_{width}"] = {"base": name, "set": {"model.width": width}}
    grid = [round(1e-4 * 10 ** (3 * n / rates), 10) for n in range(rates)]
    fashion = {
        "arms": arms,
        "tuning": {
            "method": "grid",
            "grid": {"lr": grid},
            "extensions": 0,
            "seeds": list(range(1001, 1001 + SEEDS)),
        },
        "seeds": [1, 2],
        "measure": {"anchors": {"frozen": None}, "contrasts": {"families": _no_families()}},
    }
    others = dict.fromkeys(set(_default_studies()) - {"fashion"})
    return {"name": "scale", "studies": {"fashion": fashion, **others}}


def _default_studies() -> dict:
    import yaml

    return yaml.safe_load((ROOT / "config.yaml").read_text())["studies"]


def _default_arms() -> list[str]:
    return list(_default_studies()["fashion"]["arms"])


def _no_families() -> dict:
    families = _default_studies()["fashion"]["measure"]["contrasts"]["families"]
    return {name: None for name in families}


def checkout(folder: Path, runs: int) -> list[str]:
    """A copy of the workflow with the overlay; returns the names of its tuning runs."""
    folder.mkdir()
    for part in PARTS:
        source = ROOT / part
        copy = shutil.copytree if source.is_dir() else shutil.copy2
        copy(source, folder / part)
    (folder / "scale.yaml").write_text(json.dumps(overlay(runs)))
    known = known_study(folder)
    return [run.name for run in known.tuning_runs]


def known_study(folder: Path) -> Known:
    study = load_plan([folder / "config.yaml", folder / "scale.yaml"]).studies["fashion"]
    return Known(study, [], None)


def make_up(folder: Path) -> None:
    """Writes records of runs that were never trained, and the choice that follows from them."""
    known, root = known_study(folder), folder / "results/scale"
    trials = []
    for number, (trial, run) in enumerate(zip(known.trial_records, known.tuning_runs, strict=True)):
        loss = 1.0 + (number * 7919 % 1000) / 1000
        losses = {"final_loss": loss, "minimum_loss": loss, "final_accuracy": 0.5}
        summary = losses | {"diverged": False, "steps": 10, "test_loss": None}
        target = root / "runs" / run.name
        target.mkdir(parents=True)
        (target / "metrics.parquet").write_bytes(b"made up")
        (target / "run.json").write_text(json.dumps({"summary": summary, "config": run.config}))
        trials.append(trial | summary)
    chosen = select_trials(trials, known.study.tuning, known.spaces)
    selection = root / "fashion/tuning/selection.json"
    selection.parent.mkdir(parents=True)
    selection.write_text(json.dumps(chosen))
    data = root / "data/digits"
    data.mkdir(parents=True)
    for name in ("train", "validation", "test"):
        (data / f"{name}.safetensors").write_bytes(b"made up")
    (data / "digest.json").write_text("{}")


BARE = """\
RUNS = open("runs.txt").read().split()
PARAM = {{"code": "x" * 64, "config": {config}}}
rule all:
    input: "chosen.json"
rule data:
    output: "data/digest.json"
    log: "logs/data.log"
    shell: "touch {{output}}"
rule trial:
    input: digest="data/digest.json"
    output: metrics="runs/{{run}}/metrics.parquet", record="runs/{{run}}/run.json"
    log: "logs/{{run}}.log"
    wildcard_constraints: run="[^/]+/[^/]+"
    resources: mem_mb=1500, runtime=20
    params: job=lambda wildcards: PARAM | {{"run": wildcards.run}}
    shell: "touch {{output}}"
rule select:
    input: [f"runs/{{run}}/run.json" for run in RUNS]
    output: "chosen.json"
    log: "logs/select.log"
    shell: "touch {{output}}"
"""


def bare(folder: Path, runs: list[str], config: dict) -> None:
    """A workflow without ours: as many jobs, files and params, and the same profile."""
    folder.mkdir()
    (folder / "Snakefile").write_text(BARE.format(config=repr(config)))
    (folder / "runs.txt").write_text("\n".join(runs))
    shutil.copytree(ROOT / "profiles/default", folder / "profiles/default")


def make_up_bare(folder: Path, runs: list[str]) -> None:
    for run in runs:
        (folder / "runs" / run).mkdir(parents=True)
        (folder / "runs" / run / "metrics.parquet").write_bytes(b"made up")
        (folder / "runs" / run / "run.json").write_text("{}")
    (folder / "data").mkdir()
    (folder / "data/digest.json").write_text("{}")
    (folder / "chosen.json").write_text("{}")


class Workflow:
    """A folder in which Snakemake is called, and the arguments of every call."""

    def __init__(self, folder: Path, *arguments: str):
        self.folder, self.arguments = folder, arguments

    def call(self, *more: str, python: tuple[str, ...] = ("-c", SNAKEMAKE)) -> float:
        """Seconds of one call."""
        command = [sys.executable, *python, "--cores", "1", *self.arguments, *more]
        begun = time.perf_counter()
        done = subprocess.run(
            command,
            cwd=self.folder,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        )
        seconds = time.perf_counter() - begun
        if done.returncode:
            sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
        return seconds

    def profile(self, *more: str) -> Counter:
        """Seconds in each of our modules in one call, by its own lines."""
        file = self.folder / "calls.prof"
        self.call(*more, python=("-m", "cProfile", "-o", str(file), "-m", "snakemake"))
        found: Counter = Counter()
        for (path, _, _), (_, _, own, _, _) in pstats.Stats(str(file)).stats.items():
            place = path.removeprefix(f"{self.folder}/")
            if place.startswith(OURS):
                found[place] += own
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5000, help="tuning runs, at the least")
    parser.add_argument("--repeats", type=int, default=3, help="calls, of which the fastest counts")
    parser.add_argument("--json", type=Path, help="a file for the numbers")
    asked = parser.parse_args()
    print(f"{'call':<10} {'jobs':>6} {'ours':>8} {'bare':>8} {'ratio':>6} {'share':>8}", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        rows, shares = measure(Path(scratch), asked.runs, asked.repeats)
    for call, share in shares.items():
        print(f"\nown lines of our modules, {call} (under a profile):")
        for place, seconds in share.most_common(8):
            print(f"  {seconds:6.2f}s  {place}")
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=2) + "\n")


def table_row(row: dict) -> str:
    return (
        f"{row['call']:<10} {row['jobs']:>6} {row['ours']:>7.2f}s {row['bare']:>7.2f}s "
        f"{row['ours'] / row['bare']:>6.2f} {row['ours'] - row['bare']:>7.2f}s"
    )


def measure(scratch: Path, wanted: int, repeats: int) -> tuple[list[dict], dict[str, Counter]]:
    runs = checkout(scratch / "ours", wanted)
    ours = Workflow(scratch / "ours", "--configfile", "scale.yaml")
    config = known_study(scratch / "ours").tuning_runs[0].config
    bare(scratch / "bare", runs, config)
    beside = Workflow(scratch / "bare")
    rows, shares = [], {}

    def compare(call: str) -> None:
        """Times both, one after the other, so that both meet the same machine."""
        times = {"ours": math.inf, "bare": math.inf}
        for _ in range(repeats):
            times["ours"] = min(times["ours"], ours.call("-n", "-q", "all", "--", "tune"))
            times["bare"] = min(times["bare"], beside.call("-n", "-q", "all"))
        rows.append({"call": call, "jobs": len(runs) + 2} | times)
        print(table_row(rows[-1]), flush=True)
        shares[call] = ours.profile("-n", "-q", "all", "--", "tune")

    compare("dry run")
    make_up(scratch / "ours")
    make_up_bare(scratch / "bare", runs)
    with ThreadPoolExecutor() as both:
        touched = (
            both.submit(ours.call, "--touch", "--", "tune"),
            both.submit(beside.call, "--touch"),
        )
    for done in touched:
        done.result()
    compare("no-op")
    (scratch / "ours/results/scale/runs" / runs[0] / "run.json").unlink()
    (scratch / "bare/runs" / runs[0] / "run.json").unlink()
    compare("one stale")
    return rows, shares


if __name__ == "__main__":
    main()
