"""Writes tables, figures and texts, with one rule for each function that is declared for them.

Needs: what the parameters of each function name (see `muonlab.plan.needs`). Gives:
results/<name>/<study>/tables/*.csv, figures/*.svg, .png and .pdf, and *.md. The page
results/<name>/report.html shows all of them (rules/across.smk).
"""

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
        localrule: True
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
            svg=f"{ROOT}/{{study}}/figures/{made.name}.svg",
            png=shown(
                f"{ROOT}/{{study}}/figures/{made.name}.png",
                made.outputs[0],
                made.section,
                "figure",
            ),
            pdf=f"{ROOT}/{{study}}/figures/{made.name}.pdf",
        log:
            f"{ROOT}/logs/plot_{made.name}/{{study}}.log",
        wildcard_constraints:
            study=one_of(OUTPUTS.having(made)),
        localrule: True
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
        localrule: True
        conda:
            "../envs/report.yaml"
        params:
            job=reporting_job("texts.py", made),
        message:
            f"Writing the {made.name} of {{wildcards.study}}"
        script:
            "../workflow_scripts/texts.py"
