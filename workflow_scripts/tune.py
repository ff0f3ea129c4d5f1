"""Chooses each arm's settings from its tuning runs, or proposes the trials of the next round."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

from muonlab.io.atomic import write_json
from muonlab.io.logs import logged
from muonlab.report.records import read_jsons
from muonlab.tuning.rounds import next_round
from muonlab.tuning.selection import select_trials

with logged(snakemake.log[0]):
    job = snakemake.params.job
    records = read_jsons(snakemake.input.records)
    runs = zip(job["trials"], records, strict=True)
    trials = [trial | record["summary"] for trial, record in runs]
    if "round" in job:
        found = next_round(
            trials, job["tuning"], job["spaces"], job["limits"], job["round"], job["budgets"]
        )
    else:
        found = select_trials(trials, job["tuning"], job["spaces"])
    write_json(snakemake.output[0], found)
