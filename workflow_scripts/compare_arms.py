"""Compares the arms of a study on every outcome: contrasts, analysis of variance, Tukey."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

from muonlab.io.logs import logged
from muonlab.report.outcomes import compare, compare_all, outcome_values
from muonlab.report.records import read_curves, read_jsons
from muonlab.report.tables import write_csv

with logged(snakemake.log[0]):
    job = snakemake.params.job
    values = outcome_values(
        job["outcomes"],
        job["runs"],
        summaries=read_jsons(snakemake.input.summaries),
        matched=read_jsons(snakemake.input.matched),
        measured={
            name: read_curves(job["runs"], snakemake.input.get(name)) for name in job["measured"]
        },
    )
    contrasts = compare(values, job["outcomes"], job["pairs"], job["study"], job["settings"])
    anova, tukey = compare_all(values, job["outcomes"], job["settings"])
    write_csv(contrasts, snakemake.output.contrasts)
    write_csv(anova, snakemake.output.anova)
    write_csv(tukey, snakemake.output.tukey)
