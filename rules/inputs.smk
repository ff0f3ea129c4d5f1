"""Who reads what: input functions, and the plain values that go into params.

Needs: PLAN. Functions that call `read_selection` wait for tuning, since only then the reporting
runs are known.
"""

import json
from functools import cache
from itertools import combinations

from snakemake.exceptions import IncompleteCheckpointException
from snakemake.io import checkpoint_target

from muonlab.plan.arms import Trial, differences
from muonlab.plan.measure import outcomes
from muonlab.plan.memory import train_megabytes
from muonlab.tuning.widening import field_limits

TABLES = ["runs", "summary", "tuning", "contrasts", "anova", "tukey", "best_of_k"]
FIGURES = ["learning_curves", "lr_sweep", "effects", "best_of_k"]
# Folder of what is measured, with the tables and figures made from it.
MEASURED = {
    "spectra": ("spectra", ["spectra"], ["spectra"]),
    "curvature": ("curvature", ["curvature"], ["sharpness"]),
    "quantization": ("quantized", ["quantization"], ["quantization", "quantization_error"]),
}


def measured(study):
    """What is measured on the reporting runs of a study, by its name in `measure`."""
    return [name for name in MEASURED if PLAN.studies[study].measure[name]]


def watched(study, field):
    """Whether the reporting runs of a study are watched by `field` (geometry_every, say)."""
    arms = PLAN.studies[study].arms.values()
    return all(arm.settings["training"][field] for arm in arms)


def study_tables(study):
    tables = TABLES + [table for name in measured(study) for table in MEASURED[name][1]]
    tables = tables + experiment_tables(study) + comparisons(study, 0)
    if PLAN.studies[study].measure["overhead"]:
        tables = tables + ["overhead", "overhead_shapes"]
    return expand("results/{study}/tables/{table}.csv", study=study, table=tables)


def study_figures(study):
    figures = FIGURES + [figure for name in measured(study) for figure in MEASURED[name][2]]
    if watched(study, "geometry_every"):
        figures = figures + ["geometry"]
    figures = figures + experiment_figures(study) + comparisons(study, 1)
    if PLAN.studies[study].measure["overhead"]:
        figures = figures + ["overhead"]
    return expand(
        "results/{study}/figures/{figure}.{suffix}",
        study=study,
        figure=figures,
        suffix=["svg", "png"],
    )


def study_results(study):
    """All that a study gives, once its tuning is known."""
    return [
        f"results/{study}/tuning/selection.json",
        *study_tables(study),
        *study_figures(study),
        f"results/{study}/findings.md",
        *([f"results/{study}/insights.md"] if ranked(study) else []),
    ]


SPLITS = ["train", "validation", "test"]
# Files of a prepared data set beside digest.json, for each split.
SPLIT_FILES = {"images": ["{split}.safetensors"], "text": ["{split}.tokens", "{split}.offsets"]}


def split_files(dataset, splits=SPLITS):
    """The large files of a prepared data set."""
    kind = KINDS[PLAN.data[dataset]["source"]]
    return [
        f"results/data/{dataset}/{file.format(split=split)}"
        for split in splits
        for file in SPLIT_FILES[kind]
    ]


def run_memory(run):
    """Megabytes that the training of a run asks for."""
    config = PLAN.runs[run]
    return train_megabytes(config, PLAN.data[config["data"]])


def run_data(wildcards):
    return f"results/data/{PLAN.runs[wildcards.run]['data']}"


def tuning_runs(study, rounds=None):
    """(trial, seed, run) for each tuning run of the first `rounds` rounds, by default of all; waits
    for the rounds whose trials follow from earlier ones."""
    plan = PLAN.studies[study]
    trials = {arm: list(first) for arm, first in plan.first.items()}
    for number in range(2, (rounds or plan.rounds) + 1):
        for arm, points in read_round(study, number)["points"].items():
            trials[arm] += [Trial(arm, tuple(point.items())) for point in points]
    return [row for arm in plan.arms for row in plan.tuning_runs(arm, trials[arm])]


def read_round(study, number):
    """The trials that a later round of tuning proposed; the plan learns of them, too."""
    with checkpoints.propose.get(study=study, round=number).output.proposal.open() as file:
        proposal = json.load(file)
    PLAN.studies[study].add_trials(proposal["points"])
    PLAN.runs.update(PLAN.studies[study].runs)
    return proposal


def search_spaces(study, rounds=None):
    """The search space of each tuned arm, as wide as the last of these rounds made it."""
    plan = PLAN.studies[study]
    last = rounds or plan.rounds
    if last > 1:
        return read_round(study, last)["spaces"]
    return {name: arm.space for name, arm in plan.arms.items() if arm.trials}


def tuned_limits(study):
    """What each tuned arm's optimizer allows its fields: (lowest, highest), by field."""
    arms = PLAN.studies[study].arms
    return {
        name: field_limits(REGISTERED[arm.settings["optimizer"]["name"]])
        for name, arm in arms.items()
        if arm.trials
    }


def trial_records(study, rounds=None):
    """Arm, settings, seed and run of each tuning run, as plain values for params."""
    return [
        {"arm": trial.arm, "settings": trial.settings, "seed": seed, "run": run}
        for trial, seed, run in tuning_runs(study, rounds)
    ]


def trial_summaries(study, rounds=None):
    return [f"results/runs/{run}/summary.json" for _, _, run in tuning_runs(study, rounds)]


def selection_file(wildcards):
    """The selection as an input of jobs whose params read it too. Named by its path alone, it would
    be taken for a file that this invocation makes anew."""
    return checkpoints.select.get(study=wildcards.study).output.selection


def read_selection(study):
    """The chosen settings and the common loss, once tuning has been run.

    A selection that an earlier config left, with arms or settings that are no more, is none: what
    depends on it waits for the new one.
    """
    file = checkpoints.select.get(study=study).output.selection
    with file.open() as opened:
        selection = json.load(opened)
    if not PLAN.studies[study].offers(selection):
        raise IncompleteCheckpointException(checkpoints.select.rule, checkpoint_target(file))
    return selection


def reporting_runs(study):
    """(arm, seed, run) for each reporting run, with the settings that tuning chose."""
    chosen = chosen_settings(study).items()
    return chosen_runs(study, tuple((arm, *settings.items()) for arm, settings in chosen))


def chosen_settings(study):
    """For each arm what tuning chose for it, or for the arm by whose tuning it goes."""
    tuned = read_selection(study)["arms"]
    arms = PLAN.studies[study].arms
    return {name: tuned[arm.tuned_by]["settings"] for name, arm in arms.items()}


@cache
def chosen_runs(study, chosen):
    """The runs of `reporting_runs`, named once: every job of a study asks for them."""
    plan = PLAN.studies[study]
    return [
        (arm, seed, run)
        for arm, *settings in chosen
        for seed, run in plan.reporting_runs(arm, dict(settings))
    ]


def reporting_files(name):
    """An input function for one file of each reporting run of a study."""
    return lambda wildcards: [
        f"results/runs/{run}/{name}" for _, _, run in reporting_runs(wildcards.study)
    ]


def run_summaries(studies):
    """An input function for every run of the studies.

    Targets name the runs too: Snakemake does not miss a file from which all that is asked for has
    been made already.
    """

    def summaries(wildcards):
        runs = [run for study in studies for _, _, run in tuning_runs(study)]
        runs += [run for study in studies for _, _, run in reporting_runs(study)]
        runs += [row["run"] for study in studies for row in robustness_runs(study)]
        return [f"results/runs/{run}/summary.json" for run in runs]

    return summaries


def measurements(studies):
    """An input function for all that is measured on the reporting runs of the studies; targets name
    these files for the same reason."""
    profiled = [study for study in studies if PLAN.studies[study].measure["overhead"]]
    return lambda wildcards: [
        f"results/{study}/{folder}/{arm}/seed-{seed}.parquet"
        for study in studies
        for folder in [MEASURED[name][0] for name in measured(study)]
        for arm, seed, _ in reporting_runs(study)
    ] + [f"results/{study}/overhead/profile.json" for study in profiled]


def run_records(study):
    """arm, seed and folder of each reporting run, as plain values for params."""
    return [{"arm": arm, "seed": seed, "run": run} for arm, seed, run in reporting_runs(study)]


def study_context(study):
    """What tables, figures and captions say about a study, as plain values for params."""
    plan, selection = PLAN.studies[study], read_selection(study)
    return {
        "title": plan.title,
        "data": plan.data,
        "protocol": plan.protocol,
        "seeds": plan.seeds,
        "training": next(iter(plan.arms.values())).settings["training"],
        "target_loss": selection["target_loss"],
        "kind": KINDS[PLAN.data[plan.data]["source"]],
        "arms": [
            {
                "name": arm.name,
                "label": arm.label,
                "base": arm.base,
                "compound": arm.compound,
                "tuned": bool(arm.trials),
                "settings": reported_settings(arm, selection),
                "edges": chosen_edges(arm, selection),
            }
            for arm in plan.arms.values()
        ],
    }


def reported_settings(arm, selection):
    """The values with which an arm is reported, of the fields that its tuning chose from."""
    chosen = selection["arms"][arm.tuned_by]["settings"]
    optimizer = arm.optimizer(chosen)
    return {field: optimizer[field] for field in chosen if field in optimizer}


def chosen_edges(arm, selection):
    """The edges that an arm rests on: of what tuning chose, not of what the arm sets itself."""
    edges = selection["arms"][arm.tuned_by]["edges"]
    return {field: side for field, side in edges.items() if field not in arm.fixed}


def reporting_run(wildcards):
    """The folder of the run behind one arm and seed of a study."""
    return next(
        f"results/runs/{run}"
        for arm, seed, run in reporting_runs(wildcards.study)
        if (arm, str(seed)) == (wildcards.arm, wildcards.seed)
    )


def tuned_table(name):
    """An input function for a table of jobs whose params read what tuning chose: they have to
    wait for it, too."""

    def table(wildcards):
        read_selection(wildcards.study)
        return f"results/{wildcards.study}/tables/{name}.csv"

    return table


def study_data(wildcards):
    return f"results/data/{PLAN.studies[wildcards.study].data}"


def measured_run():
    """What every measurement of one reporting run reads, as named inputs.

    The small files say whether the run changed; the tensors only have to be there.
    """

    def of_run(name):
        return lambda wildcards: f"{reporting_run(wildcards)}/{name}"

    def tensors(wildcards):
        folder = reporting_run(wildcards)
        return ancient(
            [f"{folder}/snapshots", f"{folder}/updates", f"{folder}/weights.safetensors"]
        )

    return {
        "config": of_run("config.json"),
        "summary": of_run("summary.json"),
        "tensors": tensors,
        "matched": "results/{study}/matched/{arm}/seed-{seed}.json",
        "digest": lambda wildcards: f"{study_data(wildcards)}/digest.json",
    }


def study_pairs(study):
    """The pairs of arms that are compared, the later one first, and the variables in which they
    differ; what tuning chooses is no variable."""
    plan = PLAN.studies[study]
    arms = list(plan.arms.values())
    if plan.measure["contrasts"]["pairs"] == "all":
        pairs = [(a, b) for b, a in combinations(arms, 2)]
    else:
        pairs = [(arm, plan.arms[arm.base] if arm.base else arms[0]) for arm in arms]
    return [
        {"a": a.name, "b": b.name, "variables": differences(a, b)} for a, b in pairs if a is not b
    ]


def study_files(folder, suffix):
    """An input function for one file of each reporting run in a folder of its study."""
    return lambda wildcards: [
        f"results/{wildcards.study}/{folder}/{arm}/seed-{seed}.{suffix}"
        for arm, seed, _ in reporting_runs(wildcards.study)
    ]


def matched_records(wildcards):
    """The records of the runs' matched losses: one file a run where something is measured at that
    point, so that a new seed measures only itself; one for all where they are only tabulated."""
    if measured(wildcards.study):
        return study_files("matched", "json")(wildcards)
    read_selection(wildcards.study)
    return [f"results/{wildcards.study}/matched/records.json"]


def arm_files(name):
    """An input function for one file of each reporting run of an arm."""
    return lambda wildcards: [
        f"results/runs/{run}/{name}"
        for arm, _, run in reporting_runs(wildcards.study)
        if arm == wildcards.arm
    ]


def measured_files(wildcards):
    """All that is measured on the reporting runs of a study, by its name in `measure`: one list
    for each kind, named in `params` in the same order."""
    return {
        name: study_files(MEASURED[name][0], "parquet")(wildcards)
        for name in measured(wildcards.study)
    }


def overhead_runs(study):
    """arm, seed and folder of the reporting runs of the two arms whose overhead is measured, the
    arm before the one that it is weighed against, as plain values for params."""
    records = run_records(study)
    arms = PLAN.studies[study].measure["overhead"]["arms"]
    return [record for arm in arms for record in records if record["arm"] == arm]


def overhead_files(study, name, first=False):
    """One file of each of these runs, or of those of the first seed alone."""
    seeds = PLAN.studies[study].seeds
    return [
        f"results/runs/{record['run']}/{name}"
        for record in overhead_runs(study)
        if not first or record["seed"] == seeds[0]
    ]


def overhead_job(study):
    """The param of the profile: of the optimizers', models' and kinds of data's code only that of
    its two arms counts."""
    plan = PLAN.studies[study]
    own = [own_code(plan.arms[arm].settings) for arm in plan.measure["overhead"]["arms"]]
    code = code_digest(SCRIPTS / "profile_overhead.py", ALTERNATIVES, frozenset().union(*own))
    return {"code": code, "settings": plan.measure["overhead"]}


def all_cores():
    """The cores of this invocation, so that a job has them for itself; 1 where jobs are sent to
    other machines, whose cores it does not know."""
    return workflow.resource_settings.cores or 1 if workflow.local_exec else 1
