"""Writes what changing one chosen setting costs."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

from muonlab.io.logs import logged
from muonlab.report.records import read_jsons
from muonlab.report.robustness import basins, changed_runs, lr_curves, robustness_table
from muonlab.report.tables import write_csv

with logged(snakemake.log[0]):
    job = snakemake.params.job
    changed = changed_runs(job["changed"], read_jsons(snakemake.input.summaries))
    study, alpha = job["study"], job["alpha"]
    write_csv(robustness_table(changed, study, alpha), snakemake.output.robustness)
    write_csv(lr_curves(changed, study, alpha), snakemake.output.lr_sensitivity)
    write_csv(basins(changed, study, alpha), snakemake.output.basins)
