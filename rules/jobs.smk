"""Functions that compute the inputs and params of jobs from their wildcards, by asking the plan.

Needs: PLAN, OUTPUTS, WRITTEN, `known()` and `chosen()`. Gives: functions for the rules. Rules that
are made in a loop call a function such as `measuring_inputs(made)`, which returns a new function
for each of them. A lambda would not do: it would see the loop's last `made` in every rule.
"""

import difflib

CAPTION = "captions/output.rst"
TRAINING = ("train_run", "train_trial")
FEWEST_JOBS_FOR_ARRAYS = 10_000


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


def trains_on_gpu():
    """Whether a profile or the command line gives training a GPU (set-resources)."""
    for name, asked in workflow.resource_settings.overwrite_resources.items():
        if name in TRAINING and "gpu" in asked:
            # Snakemake parses what a profile says into an object that knows what was written.
            return str(getattr(asked["gpu"], "raw", asked["gpu"])) != "0"
    return False


def in_arrays():
    """Whether training is submitted in arrays. All jobs of an array get the resources of its first
    one, so each must ask for what the largest run of the plan needs."""
    asked = getattr(workflow.executor_settings, "array_jobs", None) or ""
    return any(name in asked for name in (*TRAINING, "all"))


def refuse_arrays_of_few_jobs():
    """Stops if a limit of jobs would hold back some of an array: the plugin submits those that it
    was handed only when no other is ready, and otherwise forgets them, so that Snakemake would wait
    for them for ever."""
    jobs = workflow.resource_settings.nodes or 0
    if in_arrays() and jobs < FEWEST_JOBS_FOR_ARRAYS:
        sys.exit(
            f"error: --jobs {jobs} is too few for --slurm-array-jobs: Snakemake would wait for ever "
            "for jobs that are held back; leave --jobs as in profiles/slurm, or submit each job by "
            "itself with --slurm-array-jobs none"
        )


def asks_by_run(resource):
    """Whether something limits this resource, a cluster or the command line. Where nothing does,
    every run asks for what the largest needs: to call a function for each of thousands of runs
    takes Snakemake longer than all else that these rules do."""
    return workflow.resource_settings.nodes is not None or resource in workflow.global_resources


def train_memory(wildcards, attempt):
    """Megabytes that a training run asks for; a further attempt on a cluster asks for more."""
    config = WRITTEN.config(wildcards.run)
    return attempt * (OUTPUTS.most_memory() if in_arrays() else OUTPUTS.memory(config))


def train_minutes(wildcards, attempt):
    """Minutes that a training run asks for; a further attempt on a cluster asks for more, and goes
    on from the checkpoint of the attempt that the limit ended."""
    config, gpu = WRITTEN.config(wildcards.run), trains_on_gpu()
    return attempt * (OUTPUTS.most_minutes(gpu) if in_arrays() else OUTPUTS.minutes(config, gpu))


def growing(amount):
    """A resource of which a further attempt on a cluster asks for more."""
    return lambda wildcards, attempt: amount * attempt


def tuning_job(study, before, **more):
    return {
        "code": adapter_digest("tune.py"),
        **more,
        "tuning": before.study.tuning,
        "spaces": before.spaces,
        "budgets": before.budgets,
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
        data = PLAN.studies[wildcards.study].arms[wildcards.arm].settings["data"]
        return {
            # The small files show whether a run changed. The large ones are `ancient`: they must
            # exist, but their time stamps are ignored.
            "runs": [f"{run}/run.json" for run in runs],
            "metrics": [f"{run}/metrics.parquet" for run in runs],
            "records": ancient([f"{run}/records" for run in runs]),
            "data": f"{ROOT}/data/{data}/digest.json",
            "splits": ancient(OUTPUTS.data_files(data, [made.split] if made.split else [])),
            "settled": settled(wildcards.study),
            # Files that the measurement's own settings name, such as the items of a benchmark.
            "outside": outside_files(PLAN.studies[wildcards.study].measure.get(made.name)),
        }

    return inputs


def measuring_job(made):
    def job(wildcards):
        now, runs = chosen(wildcards.study), measured_runs(made, wildcards)
        code = adapter_digest("measure.py", made.file, configs=[run.config for run in runs])
        seeds = [run.seed for run in runs]
        return {"code": code, "seeds": seeds} | OUTPUTS.measure_job(made, now)

    return job


def profiled_data(wildcards):
    """The data set of the two arms whose steps are profiled; the plan sees to it that it is one."""
    study = PLAN.studies[wildcards.study]
    return study.arms[study.measure["overhead"]["arms"][0]].settings["data"]


def overhead_job(wildcards):
    study = PLAN.studies[wildcards.study]
    configs = [study.arms[arm].settings for arm in study.measure["overhead"]["arms"]]
    code = adapter_digest("profile_overhead.py", configs=configs)
    return {"code": code, "settings": study.measure["overhead"]}


def all_cores():
    """The number of cores of this invocation, so that a job can reserve all of them.

    It is 1 if jobs are sent to other machines, because their number of cores is not known here.
    """
    return workflow.resource_settings.cores or 1 if workflow.local_exec else 1


def needed(made):
    def inputs(wildcards):
        given = OUTPUTS.given(made, chosen(wildcards.study))
        files = given.files | {name: ancient(files) for name, files in given.ancient.items()}
        return files | {"settled": settled(wildcards.study)}

    return inputs


def reporting_job(adapter, made):
    def job(wildcards):
        return {"code": adapter_digest(adapter, made.file)} | OUTPUTS.job(
            made, chosen(wildcards.study)
        )

    return job


def everything():
    """What is known about each study after its tuning. Waits for the tuning of all of them."""
    return {study: chosen(study) for study in PLAN.studies}


def across_files(made):
    return lambda wildcards: (
        ACROSS.given(made, everything()).files | {"settled": of_each(settled)}
    )


def across_job(adapter, made):
    return lambda wildcards: (
        {"code": adapter_digest(adapter, made.file)} | ACROSS.job(made, everything())
    )


def packed(wildcards):
    """The results that the package holds; the records are those that its tables were made from."""
    studies = everything().values()
    runs = [file for now in studies for file in OUTPUTS.records(now)]
    return [*of_each(OUTPUTS.results), *ACROSS.files(), f"{ROOT}/thesis.pdf", *runs]


def package_job(wildcards):
    return {
        "code": adapter_digest("package.py", SCRIPTS / "verify.py"),
        "project": workflow.basedir,
        "configs": [*map(str, overlays)],
        "jobs": ACROSS.table_jobs(OUTPUTS, everything()),
    }


def thesis_pictures():
    made = ACROSS.registry.texts["thesis"]
    files = ACROSS.given(made, everything()).files
    return [*files["claims_overview_figure"], *files["drawings"]]


def shown(path, output, section, kind):
    """Marks a file for the report of `snakemake --report`, which embeds every file: figures as PNG
    and texts, no tables. A file whose output has no title is left out."""
    if output.title is None:
        return path
    labels = {kind: output.title}
    return report(path, caption=CAPTION, category="{study}", subcategory=section, labels=labels)


def table_files(made):
    return {output.name: f"{ROOT}/{{study}}/tables/{output.name}.csv" for output in made.outputs}


def job_title(name, wildcards):
    """What the console calls a job, where its rule's message does not say it: the study, the arm,
    the setting and the seed of a run."""
    if name not in TRAINING:
        return None
    return f"Training {TITLES.of(wildcards['run']) or wildcards['run']}"


def lift_rate_limit():
    """Takes away the limit of jobs per second where jobs run on this machine.

    Each time that Snakemake (9.27) selects jobs it starts a timer that makes it select again after
    the limit's span of time, which starts the next one. The timers of all selections so far live
    on: after some hundred jobs Snakemake selects two hundred times a second and keeps a core busy
    with that. The number of cores limits jobs that run here anyway.
    """
    if workflow.local_exec and hasattr(workflow.scheduler, "job_rate_limiter"):
        workflow.scheduler.job_rate_limiter = None


def start_jobs_warm():
    """Lets jobs reach the worker that has their modules before they import any. With conda or
    containers, another Python runs them."""
    if not workflow.deployment_settings.deployment_method:
        shell.prefix(warm.prefix())


def to_follow():
    """By rule, about how many jobs will follow that are not in Snakemake's graph at its start."""
    return jobs_ahead(PLAN, OUTPUTS, WRITTEN, workflow.dag_settings.targets)


def say_what_was_found():
    """Prints, at the end, what the studies and the claims say, and which files a reader opens."""
    titles = {name: study.title for name, study in PLAN.studies.items()}
    print(closing(Path(ROOT), titles), file=sys.stderr)


def runs_of(*studies):
    """All runs of these studies; the reporting runs are known once tuning has finished."""
    return lambda wildcards: [file for study in studies for file in OUTPUTS.records(chosen(study))]


def measured_in(*studies, names=None):
    return lambda wildcards: [
        file for study in studies for file in OUTPUTS.measurements(chosen(study), names)
    ]


def of_each(files):
    return [file for study in PLAN.studies for file in files(study)]


def print_plan(wildcards):
    """Prints what everything in this configuration will cost, and stops before anything is run."""
    print_estimate(estimate(PLAN, OUTPUTS, WRITTEN, Path(".snakemake/metadata")), PLAN.estimate)
    sys.stdout.flush()
    sys.exit(0)


def unknown_target(wildcards):
    """Stops with a sentence that lists the targets that exist."""
    names = [rule.name for rule in workflow.rules if not rule.has_wildcards()]
    close = difflib.get_close_matches(wildcards.unknown, names, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    sys.exit(
        f"error: there is no target {wildcards.unknown!r}{hint} (there are {', '.join(names)})"
    )
