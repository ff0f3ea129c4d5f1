"""Ranks the arms of a study, and compares each setting's values."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

from muonlab.io.logs import logged
from muonlab.report.ranking import field_effects, ranked_runs, ranking
from muonlab.report.records import read_jsons
from muonlab.report.tables import write_csv

with logged(snakemake.log[0]):
    job = snakemake.params.job
    runs = ranked_runs(
        job["runs"],
        summaries=read_jsons(snakemake.input.summaries),
        provenances=read_jsons(snakemake.input.provenances),
    )
    study, settings, against, plan = (job[k] for k in ("study", "settings", "against", "plan"))
    table = ranking(runs, study, settings, job["variables"], against, plan)
    write_csv(table, snakemake.output.ranking)
    write_csv(field_effects(runs, study, settings, against, plan), snakemake.output.field_effects)
