"""Tables, figures and texts, one rule for each declared function, and the HTML report of them all.

Needs: what the functions' parameters name (`muonlab.plan.needs`). Gives:
results/<name>/<study>/tables/*.csv, figures/*.svg and .png, *.md, and results/<name>/report.html.
"""

import subprocess

CAPTION = "captions/output.rst"


def needed(made):
    def inputs(wildcards):
        given = OUTPUTS.given(made, chosen(wildcards.study))
        return given.files | {name: ancient(files) for name, files in given.ancient.items()}

    return inputs


def reporting_job(adapter, made):
    def job(wildcards):
        return {"code": adapter_digest(adapter, made.file)} | OUTPUTS.job(
            made, chosen(wildcards.study)
        )

    return job


def shown(path, output, section, kind):
    """A file as the report shows it; what has no title is not shown."""
    if output.title is None:
        return path
    labels = {kind: output.title}
    return report(path, caption=CAPTION, category="{study}", subcategory=section, labels=labels)


def table_files(made):
    return {
        output.name: shown(
            f"{ROOT}/{{study}}/tables/{output.name}.csv", output, made.section, "table"
        )
        for output in made.outputs
    }


for made in OUTPUTS.registry.tables.values():

    rule:
        name:
            f"tabulate_{made.name}"
        input:
            unpack(needed(made)),
        output:
            **table_files(made),
        log:
            f"{ROOT}/logs/tabulate_{made.name}/{{study}}.log",
        wildcard_constraints:
            study=one_of(OUTPUTS.having(made)),
        conda:
            "../envs/report.yaml"
        params:
            job=reporting_job("tables.py", made),
        message:
            f"Tabulating the {made.name.replace('_', ' ')} of {{wildcards.study}}"
        script:
            "../workflow_scripts/tables.py"


for made in OUTPUTS.registry.figures.values():

    rule:
        name:
            f"plot_{made.name}"
        input:
            unpack(needed(made)),
        output:
            svg=shown(
                f"{ROOT}/{{study}}/figures/{made.name}.svg",
                made.outputs[0],
                made.section,
                "figure",
            ),
            png=f"{ROOT}/{{study}}/figures/{made.name}.png",
        log:
            f"{ROOT}/logs/plot_{made.name}/{{study}}.log",
        wildcard_constraints:
            study=one_of(OUTPUTS.having(made)),
        conda:
            "../envs/report.yaml"
        params:
            job=reporting_job("figures.py", made),
        message:
            f"Drawing the {made.name.replace('_', ' ')} of {{wildcards.study}}"
        script:
            "../workflow_scripts/figures.py"


for made in OUTPUTS.registry.texts.values():

    rule:
        name:
            f"write_{made.name}"
        input:
            unpack(needed(made)),
        output:
            shown(f"{ROOT}/{{study}}/{made.name}.md", made.outputs[0], made.section, "text"),
        log:
            f"{ROOT}/logs/write_{made.name}/{{study}}.log",
        wildcard_constraints:
            study=one_of(OUTPUTS.having(made)),
        conda:
            "../envs/report.yaml"
        params:
            job=reporting_job("texts.py", made),
        message:
            f"Writing the {made.name} of {{wildcards.study}}"
        script:
            "../workflow_scripts/texts.py"


REPORT = Path(ROOT) / "report.html"


def write_report():
    """Asks Snakemake for the report of every study that has results, where one of its files is
    newer than the report; a failure does not fail the run."""
    studies = [name for name in PLAN.studies if OUTPUTS.is_whole(name)]
    if not studies or OUTPUTS.is_newer(REPORT, studies):
        return
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(workflow.main_snakefile)]
    command += ["--report", str(REPORT)]
    if overlays:
        command += ["--configfile", *map(str, overlays)]
    if workflow.config_settings.config_args:
        command += ["--config", *workflow.config_settings.config_args]
    outcome = subprocess.run([*command, "--", *studies], capture_output=True, text=True)
    if outcome.returncode == 0:
        print(f"Report: {REPORT}", file=sys.stderr)
    else:
        print(f"The report could not be written:\n{outcome.stderr}", file=sys.stderr)
