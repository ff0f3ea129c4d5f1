"""The HTML report: every figure and table with its caption, by study, in one offline file.

Needs: a finished run of the workflow. Gives: results/report.html, written after each run that made
something of what the report shows. `snakemake --report FILE` writes it elsewhere.
"""

import subprocess

from snakemake.io import is_flagged

REPORT = "results/report.html"


def write_report():
    """Asks Snakemake for the report on this run's targets; a failure does not fail the run."""
    if not any(is_flagged(file, "report") for job in workflow.dag.jobs for file in job.output):
        return
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(workflow.main_snakefile)]
    command += ["--report", REPORT]
    if overlays:
        command += ["--configfile", *map(str, overlays)]
    if workflow.config_settings.config_args:
        command += ["--config", *workflow.config_settings.config_args]
    command += ["--", *map(str, workflow.dag_settings.targets)]
    outcome = subprocess.run(command, capture_output=True, text=True)
    if outcome.returncode == 0:
        print(f"Report: {REPORT}", file=sys.stderr)
    else:
        print(f"The report could not be written:\n{outcome.stderr}", file=sys.stderr)
