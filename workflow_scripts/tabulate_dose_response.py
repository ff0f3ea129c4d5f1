"""Writes how far updates are from their polar factors, and whether the loss follows it."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

import pandas as pd

from muonlab.io.logs import logged
from muonlab.report.dose import direction_table, response_tables
from muonlab.report.records import read_arms, read_jsons
from muonlab.report.tables import write_csv

with logged(snakemake.log[0]):
    job = snakemake.params.job
    direction = read_arms(job["arms"], snakemake.input.records)
    losses = [summary["final_loss"] for summary in read_jsons(snakemake.input.summaries)]
    runs = pd.DataFrame(job["runs"]).assign(final_loss=losses)
    write_csv(direction_table(direction, job["study"], job["alpha"]), snakemake.output.direction)
    points, responses = response_tables(
        runs, direction, job["study"], job["settings"], job["alpha"]
    )
    write_csv(points, snakemake.output.dose_points)
    write_csv(responses, snakemake.output.dose_response)
