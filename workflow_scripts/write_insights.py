"""Writes the key insights of a ranking."""

from muonlab.jobs.warm import TABLES, hand_over

hand_over(snakemake, TABLES)

import pandas as pd

from muonlab.io.atomic import write_text
from muonlab.io.logs import logged
from muonlab.report.insights import insights

with logged(snakemake.log[0]):
    tables = {name: pd.read_csv(path) for name, path in snakemake.input.items()}
    text = insights(
        tables["ranking"], tables["field_effects"], tables["dose_response"], tables.get("basins")
    )
    write_text(snakemake.output.insights, text)
