"""Writes what all studies make together: claims, the report page, the thesis, LaTeX tables.

Needs: the tables, figures and texts of every study. Gives: results/<name>/claims.csv, claims.md,
claims_overview.svg, .png and .pdf, report.html, thesis.typ and thesis.pdf, and latex/.
"""

for made in ACROSS.registry.tables.values():

    rule:
        name:
            f"compile_{made.name}"
        input:
            unpack(across_files(made)),
        output:
            **ACROSS.table_files(made),
        log:
            f"{ROOT}/logs/across/{made.name}.log",
        conda:
            "../envs/report.yaml"
        params:
            job=across_job("tables.py", made),
        message:
            f"Tabulating the {made.name.replace('_', ' ')} of all studies"
        script:
            "../workflow_scripts/tables.py"


for made in ACROSS.registry.figures.values():

    rule:
        name:
            f"draw_{made.name}"
        input:
            unpack(across_files(made)),
        output:
            **ACROSS.figure_files(made),
        log:
            f"{ROOT}/logs/across/{made.name}.log",
        conda:
            "../envs/report.yaml"
        params:
            job=across_job("figures.py", made),
        message:
            f"Drawing the {made.name.replace('_', ' ')} of all studies"
        script:
            "../workflow_scripts/figures.py"


for made in ACROSS.registry.texts.values():

    rule:
        name:
            f"compose_{made.name}"
        input:
            unpack(across_files(made)),
        output:
            ACROSS.text_file(made),
        log:
            f"{ROOT}/logs/across/{made.name}.log",
        conda:
            "../envs/report.yaml"
        params:
            job=across_job("texts.py", made),
        message:
            f"Writing the {made.name.replace('_', ' ')} of all studies"
        script:
            "../workflow_scripts/texts.py"


for made in ACROSS.registry.folders.values():

    rule:
        name:
            f"fill_{made.name}"
        input:
            unpack(across_files(made)),
        output:
            folder=directory(ACROSS.folder(made)),
        log:
            f"{ROOT}/logs/across/{made.name}.log",
        conda:
            "../envs/report.yaml"
        params:
            job=across_job("folders.py", made),
        message:
            f"Writing the {made.name.replace('_', ' ')} of all studies"
        script:
            "../workflow_scripts/folders.py"


rule typeset_thesis:
    input:
        document=f"{ROOT}/thesis.typ",
        pictures=lambda wildcards: thesis_pictures(),
        settled=of_each(settled),
    output:
        pdf=f"{ROOT}/thesis.pdf",
    log:
        f"{ROOT}/logs/across/thesis_pdf.log",
    conda:
        "../envs/report.yaml"
    params:
        job={"code": adapter_digest("typeset.py")},
    message:
        "Typesetting the thesis"
    script:
        "../workflow_scripts/typeset.py"


rule package:
    """Packs everything that another machine needs to verify the results; weights are left out."""
    input:
        results=packed,
        checklist=f"{ROOT}/reproducibility.md",
    output:
        archive=f"{ROOT}/package-{PLAN.name}.tar.gz",
    log:
        f"{ROOT}/logs/across/package.log",
    conda:
        "../envs/report.yaml"
    params:
        job=package_job,
    message:
        "Packing code, records and results"
    script:
        "../workflow_scripts/package.py"
