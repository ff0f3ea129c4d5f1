"""What a configuration will cost before it is run: jobs, hours and operations of each stage.

Seconds come from finished jobs of this machine where there are any of the same kind, else from
floating-point operations and a rate: that of finished runs of similar size, else the one that the
section `estimate` of the config states, to which the calls of an update's operations are added.
Short jobs and calls are stated for one machine and scaled by how slow this one is beside it.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from muonlab.plan.datasets import KINDS
from muonlab.plan.flops import (
    assumed_facts,
    evaluated_examples,
    flops_per_example,
    flops_per_update,
    updates_of,
)
from muonlab.plan.known import Known
from muonlab.plan.outputs import Outputs
from muonlab.plan.runs import Plan, Run, StudyPlan
from muonlab.plan.slowness import slowness
from muonlab.plan.times import Times, read_times
from muonlab.plan.written import Written, read

# Seconds of jobs that were never run here: means of the default's, of which two ran at a time, on
# the machine to which `slowness` compares this one.
SECONDS = {"prepare_": 1.3, "measure_": 0.7, "tabulate_": 0.7, "plot_": 0.95, "write_": 0.3}
SECONDS |= {"propose": 0.3, "select": 0.1, "profile_overhead": 4.0}
OUTSIDE = 0.1  # of a training job, before and after its run
SCHEDULING = 0.06  # of Snakemake, for each job
# Of each layer in an update of a small model, which is bound by calling its operations.
CALLS = {"mlp": 0.0004, "transformer": 0.0018}
CALLS_OF_EXPERTS = 0.0017  # of each layer with experts, in addition
CPU, GPU = "cpu", "cuda"


@dataclass
class Stage:
    """One row of the table: the jobs of a stage, how many of them are finished, their seconds on
    one core and on one GPU, their operations, and how many jobs' times were measured."""

    study: str
    name: str
    jobs: int = 0
    done: int = 0
    cpu_seconds: float = 0.0
    gpu_seconds: float = 0.0
    flops: int = 0
    measured: int = 0


@dataclass
class Estimate:
    """The stages, and how slow this machine is (`slowness`)."""

    stages: list[Stage]
    notes: list[str] = field(default_factory=list)
    slow: float = 1.0

    @property
    def scheduling(self) -> float:
        """Seconds of Snakemake itself."""
        return SCHEDULING * self.slow * sum(stage.jobs for stage in self.stages)

    @property
    def seconds(self) -> float:
        """Seconds on one core, with Snakemake's own for each job."""
        return sum(stage.cpu_seconds for stage in self.stages) + self.scheduling


class Estimator:
    """Estimates a plan's costs. `facts` are digests of the data sets; `times` are measured."""

    def __init__(
        self,
        plan: Plan,
        outputs: Outputs,
        facts: Mapping[str, Mapping],
        times: Times,
        slow: float = 1.0,
    ):
        self.plan, self.outputs, self.facts, self.times = plan, outputs, facts, times
        self.slow = slow
        self.rates = plan.estimate
        self.seen: set[str] = set()

    def of(self, known: Iterable[Known]) -> Estimate:
        found = Estimate([self._preparation()], slow=self.slow)
        for one in known:
            found.stages += self._study(one, found.notes)
        found.stages = [stage for stage in found.stages if stage.jobs]
        return found

    def _preparation(self) -> Stage:
        stage = Stage("", "data")
        for name in self.plan.data_used:
            kind = KINDS[self.plan.data[name]["source"]]
            done = Path(f"{self.outputs.root}/data/{name}/digest.json").exists()
            self._add_rule(stage, f"prepare_{kind}", 1, "prepare_", int(done))
        return stage

    def _study(self, known: Known, notes: list[str]) -> Iterator[Stage]:
        study = known.study
        whole = known if known.is_chosen else as_if_chosen(known)
        trials, more = planned_trials(known)
        if more:
            notes.append(
                f"{study.name}: up to {more} further tuning runs if a best trial lies on an edge"
            )
        yield self._runs(study, "tuning", trials)
        yield self._runs(study, "reporting", whole.reporting_runs)
        yield self._runs(study, "robustness", [run for _, _, run in whole.robustness_runs])
        yield self._runs(study, "sensitivity", whole.sensitivity_runs)
        levels = [run for cell, run in whole.factor_runs if not cell.is_own]
        yield self._runs(study, "levels of factors", levels)
        choosing = Stage(study.name, "choosing settings")
        later = study.rounds - 1 - study.tuning["extensions"]
        self._add_rule(choosing, "propose", max(0, later), "propose")
        self._add_rule(choosing, "select", 1, "select")
        yield choosing
        yield self._measurements(study, whole)
        yield from self._report(study)

    def _runs(self, study: StudyPlan, name: str, runs: Iterable[Run]) -> Stage:
        stage = Stage(study.name, name)
        for run in runs:
            if run.name in self.seen:  # two studies share it
                continue
            self.seen.add(run.name)
            stage.jobs += 1
            stage.done += Path(f"{self.outputs.root}/runs/{run.name}/run.json").exists()
            flops, cpu, measured = self._training(run.config, CPU)
            stage.flops += flops
            stage.cpu_seconds += cpu
            stage.gpu_seconds += self._training(run.config, GPU)[1]
            stage.measured += measured
        return stage

    def _training(self, config: Mapping[str, Any], device: str) -> tuple[int, float, bool]:
        """Operations and seconds of a run on a device, and whether its steps were measured."""
        facts = self.facts[config["data"]]
        updates, each = updates_of(config, facts), flops_per_update(config, facts)
        watching = evaluated_examples(config, facts) * flops_per_example(config, facts) // 3
        total = updates * each + watching
        outside = _median(self.times.outside) or OUTSIDE * self.slow
        alike = self.times.alike(config, device)
        if alike:
            update = _median([run.update_seconds for run in alike])
            others = [run.other_seconds * watching / max(run.evaluation_flops, 1) for run in alike]
            return total, updates * update + _median(others) + outside, True
        rate = self.times.rate(each, device)
        if rate is not None:
            return total, total / rate + outside, False
        calls = updates * self._calls(config["model"])
        return total, total / self._stated(config, device) + calls + outside, False

    def _calls(self, model: Mapping[str, Any]) -> float:
        """Seconds of an update beside its operations; a GPU waits for the same calls."""
        each = CALLS[model["name"]] + (CALLS_OF_EXPERTS if model.get("experts") else 0.0)
        return self.slow * each * model.get("layers", model.get("depth"))

    def _stated(self, config: Mapping[str, Any], device: str) -> float:
        if device == CPU:
            return self.rates["cpu_gflops"] * 1e9
        halved = config["training"]["precision"] == "bfloat16"
        return self.rates["gpu_tflops" if halved else "gpu_tflops_float32"] * 1e12

    def _measurements(self, study: StudyPlan, known: Known) -> Stage:
        stage = Stage(study.name, "measurements")
        for made in self.outputs.registry.measurements.values():
            if self.outputs.has(made, study):
                count = len(self.outputs.needs.measured_files(made, known))
                self._add_rule(stage, f"measure_{made.name}", count, "measure_")
        if study.measure["overhead"]:
            self._add_rule(stage, "profile_overhead", 1, "profile_overhead")
        return stage

    def _report(self, study: StudyPlan) -> Iterator[Stage]:
        registry = self.outputs.registry
        for name, prefix, all_made in (
            ("tables", "tabulate_", registry.tables),
            ("figures", "plot_", registry.figures),
            ("texts", "write_", registry.texts),
        ):
            stage = Stage(study.name, name)
            for made in all_made.values():
                if self.outputs.has(made, study):
                    self._add_rule(stage, f"{prefix}{made.name}", 1, prefix)
            yield stage

    def _add_rule(self, stage: Stage, rule: str, jobs: int, prefix: str, done: int = 0) -> None:
        """Adds the jobs of a rule: at the median seconds of its own jobs, else of jobs of its kind,
        else as stated."""
        own = self.times.rule(rule)
        seconds = own or self.times.kind(prefix) or SECONDS[prefix] * self.slow
        stage.jobs += jobs
        stage.done += done
        stage.cpu_seconds += jobs * seconds
        stage.gpu_seconds += jobs * seconds
        stage.measured += jobs if own else 0


def estimate(plan: Plan, outputs: Outputs, written: Written, metadata: Path) -> Estimate:
    """The cost of everything that the plan makes, from the beginning."""
    facts = {name: data_facts(plan, outputs.root, name) for name in plan.data}
    times = read_times(Path("results"), metadata, facts)
    known = [written.on_disk(study) for study in plan.studies.values()]
    return Estimator(plan, outputs, facts, times, slowness()).of(known)


def data_facts(plan: Plan, root: str, name: str) -> Mapping[str, Any]:
    """The digest of a data set, or what is assumed until it is prepared."""
    file = Path(f"{root}/data/{name}/digest.json")
    section = plan.data[name]
    return read(str(file)) if file.exists() else assumed_facts(section, KINDS[section["source"]])


def as_if_chosen(known: Known) -> Known:
    """The study as if tuning had chosen the first trial of each arm: what runs cost hardly depends
    on which one it chooses."""
    arms = {
        name: {"settings": arm.trials[0].settings, "edges": {}}
        for name, arm in known.study.tuned_arms.items()
    }
    return Known(known.study, [], {"arms": arms})


def planned_trials(known: Known) -> tuple[list[Run], int]:
    """The tuning runs: those that are known, and as many like them as the planned rounds will add;
    and how many more there can be if search spaces are widened."""
    study = known.study
    if known.is_chosen:
        return known.tuning_runs, 0
    runs, seeds, more = list(known.tuning_runs), len(study.tuning["seeds"]), 0
    grid = study.tuning["method"] == "grid"
    for name, arm in study.tuned_arms.items():
        own = [run for run in runs if run.arm == name]
        planned = len(arm.trials) if grid else arm.budget
        missing = max(0, planned - len(known.trials[name])) * seeds
        runs += [
            replace(run, name=f"{run.name}/later-{i}")
            for i, run in zip(range(missing), own * (missing // len(own) + 1), strict=False)
        ]
        each = max(1, planned // study.tuning["rounds"]) if not grid else planned
        more += each * seeds * study.tuning["extensions"]
    return runs, more


def _median(values: Iterable[float]) -> float:
    ordered = sorted(values)
    return ordered[len(ordered) // 2] if ordered else 0.0


def table(
    found: Estimate,
    rates: Mapping[str, float],
    show: Callable[[str], Any] = print,
    cores: int | None = None,
) -> None:
    """Prints the estimate as a table, and the time on `cores` cores, by default this machine's."""
    header = ("study", "stage", "jobs", "done", "CPU time", "GPU time", "FLOPs", "measured")
    line = "{:<22} {:<19} {:>6} {:>6} {:>10} {:>10} {:>9} {:>9}".format
    show(line(*header))
    for stage in found.stages:
        show(
            line(
                *(stage.study or "(all studies)", stage.name, stage.jobs, stage.done),
                *(_time(stage.cpu_seconds), _time(stage.gpu_seconds)),
                f"{stage.flops:.1e}" if stage.flops else "",
                f"{stage.measured / stage.jobs:.0%}",
            )
        )
    jobs, done = (sum(getattr(s, what) for s in found.stages) for what in ("jobs", "done"))
    scheduling = _time(found.scheduling)
    show(line("(all studies)", "Snakemake itself", "", "", scheduling, scheduling, "", ""))
    gpu = sum(s.gpu_seconds for s in found.stages) + found.scheduling
    flops = sum(s.flops for s in found.stages)
    total = (jobs, done, _time(found.seconds), _time(gpu), f"{flops:.1e}", "")
    show(line("total", "", *total))
    cores = cores or os.cpu_count() or 1
    show(f"On {cores} cores without a GPU: about {_time(found.seconds / cores)}.")
    show("")
    show(
        "CPU time: one core, one job at a time. GPU time: training on one GPU, all else on a core. "
        "measured: share of the jobs whose time was taken from finished jobs of this machine; "
        f"the others are computed from FLOPs, at {rates['cpu_gflops']:g} GFLOP/s for a core and "
        f"{rates['gpu_tflops']:g} (bfloat16) or {rates['gpu_tflops_float32']:g} (float32) TFLOP/s "
        "for a GPU where no finished run of similar size gives a rate (the section estimate of the "
        "config states them), and from stated times of short jobs and calls. These are multiplied "
        f"by {found.slow:.2f}, what a probe takes here over what it takes where they were measured."
    )
    for note in found.notes:
        show(note)
    show("Nothing was run.")


def _time(seconds: float) -> str:
    """Seconds in the unit that suits them: "12 s", "4.7 min", "3.3 h", "1,200 h"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:,.1f} h"
