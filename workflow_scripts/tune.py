"""Chooses each arm's settings from its tuning runs, or proposes the trials of the next round."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

from muonlab.io.atomic import write_json
from muonlab.io.logs import logged
from muonlab.report.records import read_parts
from muonlab.tuning.rounds import next_round
from muonlab.tuning.selection import select_trials

with logged(snakemake.log[0]):
    job = snakemake.params.job
    summaries = read_parts(snakemake.input.records, "summary")
    runs = zip(job["trials"], summaries, strict=True)
    trials = [trial | summary for trial, summary in runs]
    if "round" in job:
        found = next_round(
            trials, job["tuning"], job["spaces"], job["limits"], job["round"], job["budgets"]
        )
    else:
        found = select_trials(trials, job["tuning"], job["spaces"])
    write_json(snakemake.output[0], found)
