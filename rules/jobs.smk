"""Inputs and params of jobs, as functions of their wildcards; each asks the plan and adds nothing.

Needs: PLAN, OUTPUTS, WRITTEN, `known()` and `chosen()`. Gives: functions for the rules. A rule that
is made in a loop gets a function of its own from `measuring_inputs(made)` and the like: in a lambda
`made` would be the last one for all of them.
"""

import difflib
import subprocess

CAPTION = "captions/output.rst"


def data_job(dataset):
    config = PLAN.data[dataset]
    source = SCRIPTS / "muonlab/data/sources" / f"{config['source']}.py"
    code = adapter_digest("prepare.py", source)
    return {"code": code, "kind": KINDS[config["source"]], "config": config}


def run_data(wildcards):
    return WRITTEN.config(wildcards.run)["data"]


def train_job(wildcards):
    config = WRITTEN.config(wildcards.run)
    return {"code": run_digest(config), "config": config}


def tuning_job(study, before, **more):
    return {
        "code": adapter_digest("tune.py"),
        **more,
        "tuning": before.study.tuning,
        "spaces": before.spaces,
        "trials": before.trial_records,
    }


def proposal_job(wildcards):
    before, number = known(wildcards.study, int(wildcards.round) - 1), int(wildcards.round)
    return tuning_job(wildcards.study, before, round=number, limits=before.limits)


def measured_runs(made, wildcards):
    """The reporting runs that a measuring job opens."""
    now = chosen(wildcards.study)
    if made.of == "run":
        return [now.reporting_run(wildcards.arm, wildcards.seed)]
    return [run for run in now.reporting_runs if run.arm == wildcards.arm]


def measuring_inputs(made):
    def inputs(wildcards):
        runs = [f"{ROOT}/runs/{run.name}" for run in measured_runs(made, wildcards)]
        data = PLAN.studies[wildcards.study].data
        return {
            # The small files say whether a run changed; its tensors only have to be there.
            "runs": [f"{run}/run.json" for run in runs],
            "metrics": [f"{run}/metrics.parquet" for run in runs],
            "records": ancient([f"{run}/records" for run in runs]),
            "data": f"{ROOT}/data/{data}/digest.json",
            "splits": ancient(OUTPUTS.data_files(data, [made.split] if made.split else [])),
        }

    return inputs


def measuring_job(made):
    def job(wildcards):
        now, runs = chosen(wildcards.study), measured_runs(made, wildcards)
        code = adapter_digest("measure.py", made.file, configs=[run.config for run in runs])
        seeds = [run.seed for run in runs]
        return {"code": code, "seeds": seeds} | OUTPUTS.measure_job(made, now)

    return job


def overhead_job(wildcards):
    study = PLAN.studies[wildcards.study]
    configs = [study.arms[arm].settings for arm in study.measure["overhead"]["arms"]]
    code = adapter_digest("profile_overhead.py", configs=configs)
    return {"code": code, "settings": study.measure["overhead"]}


def all_cores():
    """The cores of this invocation, so that a job has them for itself; 1 where jobs are sent to
    other machines, whose cores it does not know."""
    return workflow.resource_settings.cores or 1 if workflow.local_exec else 1


def needed(made):
    def inputs(wildcards):
        given = OUTPUTS.given(made, chosen(wildcards.study))
        return given.files | {name: ancient(files) for name, files in given.ancient.items()}

    return inputs


def reporting_job(adapter, made):
    def job(wildcards):
        return {"code": adapter_digest(adapter, made.file)} | OUTPUTS.job(
            made, chosen(wildcards.study)
        )

    return job


def shown(path, output, section, kind):
    """A file as the report shows it; what has no title is not shown."""
    if output.title is None:
        return path
    labels = {kind: output.title}
    return report(path, caption=CAPTION, category="{study}", subcategory=section, labels=labels)


def table_files(made):
    return {
        output.name: shown(
            f"{ROOT}/{{study}}/tables/{output.name}.csv", output, made.section, "table"
        )
        for output in made.outputs
    }


REPORT = Path(ROOT) / "report.html"


def write_report():
    """Asks Snakemake for the report of every study that has results, where one of its files is
    newer than the report; a failure does not fail the run."""
    studies = [name for name in PLAN.studies if OUTPUTS.is_whole(name)]
    if not studies or OUTPUTS.is_newer(REPORT, studies):
        return
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(workflow.main_snakefile)]
    command += ["--report", str(REPORT)]
    if overlays:
        command += ["--configfile", *map(str, overlays)]
    if workflow.config_settings.config_args:
        command += ["--config", *workflow.config_settings.config_args]
    outcome = subprocess.run([*command, "--", *studies], capture_output=True, text=True)
    if outcome.returncode == 0:
        print(f"Report: {REPORT}", file=sys.stderr)
    else:
        print(f"The report could not be written:\n{outcome.stderr}", file=sys.stderr)


def runs_of(*studies):
    """Every run of some studies, once their tuning has been run."""
    return lambda wildcards: [file for study in studies for file in OUTPUTS.records(chosen(study))]


def measured_in(*studies, names=None):
    return lambda wildcards: [
        file for study in studies for file in OUTPUTS.measurements(chosen(study), names)
    ]


def of_each(files):
    return [file for study in PLAN.studies for file in files(study)]


def unknown_target(wildcards):
    """Ends the plan with a sentence that says which targets there are."""
    names = [rule.name for rule in workflow.rules if not rule.has_wildcards()]
    close = difflib.get_close_matches(wildcards.unknown, names, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    sys.exit(
        f"error: there is no target {wildcards.unknown!r}{hint} (there are {', '.join(names)})"
    )
