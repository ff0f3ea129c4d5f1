"""Proposes the trials of a later round of tuning from those that have been run."""

import json
from pathlib import Path

from muonlab.io.atomic import write_json
from muonlab.io.logs import logged
from muonlab.tuning.rounds import propose
from muonlab.tuning.selection import edges, scored_trials

with logged(snakemake.log[0]):
    job = snakemake.params.job
    trials = [
        trial | json.loads(Path(summary).read_text())
        for trial, summary in zip(job["trials"], snakemake.input.summaries, strict=True)
    ]
    scored, arms = {}, {}
    for name, space in job["spaces"].items():
        own = [trial for trial in trials if trial["arm"] == name]
        scored[name] = scored_trials(own, job["tuning"]["score"])
        best = min(scored[name], key=lambda trial: trial["score"])
        arms[name] = {"space": space, "edges": edges(best["settings"], space)}
        arms[name]["limits"] = job["limits"][name]
    write_json(snakemake.output.proposal, propose(arms, job["tuning"], scored, job["round"]))
