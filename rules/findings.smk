"""Findings: what a study found, in sentences computed from its tables.

Needs: the tables of contrasts, of the summary and of the experiments. Gives: results/<study>/findings.md.
"""


rule write_findings:
    input:
        unpack(findings_tables),
        contrasts=tuned_table("contrasts"),
        summary=tuned_table("summary"),
    output:
        findings=report(
            "results/{study}/findings.md",
            caption="captions/findings.rst",
            category="{study}",
            subcategory="findings",
            labels={"text": "findings"},
        ),
    log:
        "results/logs/write_findings/{study}.log",
    conda:
        "../envs/tables.yaml"
    params:
        job=lambda wildcards: job(
            "write_findings.py",
            kind=KINDS[PLAN.data[PLAN.studies[wildcards.study].data]["source"]],
        ),
    message:
        "Writing the findings of {wildcards.study}"
    script:
        "../workflow_scripts/write_findings.py"
