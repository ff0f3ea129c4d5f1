"""Compares Muon with AdamW under one fair protocol, from the data to a report.

snakemake --cores all                                             everything in config.yaml
snakemake --cores all fashion                                     one study, with all its results
snakemake --cores all tune | train | statistics | figures         one stage of every study
snakemake --cores all claims | thesis | package                   what all studies say together
snakemake fashion --cores all --configfile studies/fashion.yaml   FashionMNIST at published size
"""

from snakemake.utils import min_version

min_version("9.21.1")


configfile: "config.yaml"


include: "rules/common.smk"
include: "rules/jobs.smk"
include: "rules/data.smk"
include: "rules/train.smk"
include: "rules/tune.smk"
include: "rules/measure.smk"
include: "rules/report.smk"
include: "rules/across.smk"
include: "rules/targets.smk"


rule all:
    default_target: True
    input:
        of_each(OUTPUTS.results),
        ACROSS.files(),
        ACROSS.thesis,
        runs_of(*PLAN.studies),
        measured_in(*PLAN.studies),
    message:
        "All results are made."


# Jobs of a cluster read this file, too; nobody sees their console.
if workflow.is_main_process:
    console.install(
        title=job_title,
        ahead=to_follow,
        quiet=lambda: workflow.dryrun,
        logger=logging.getLogger("snakemake.logging"),
    )


onstart:
    lift_rate_limit()
    start_jobs_warm()
    refuse_arrays_of_few_jobs()
    for sentence in open_to_all([".snakemake", ROOT]):
        print(sentence, file=sys.stderr)
    watch(workflow, say=lambda sentence: print(sentence, file=sys.stderr))


onsuccess:
    say_what_was_found()
    remove_empty_logs(f"{ROOT}/logs")
