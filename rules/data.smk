"""Data sets: from their source to three disjoint splits.

Needs: nothing (digits), a folder of IDX files, or the network (FashionMNIST).
Gives: results/data/<dataset>/ with train, validation and test as safetensors, and digest.json.
"""


rule prepare_images:
    input:
        # The IDX files that the data set is made from, so that a replaced file is noticed.
        lambda wildcards: SOURCE_FILES.get(wildcards.dataset, []),
    output:
        train="results/data/{dataset}/train.safetensors",
        validation="results/data/{dataset}/validation.safetensors",
        test="results/data/{dataset}/test.safetensors",
        digest="results/data/{dataset}/digest.json",
    log:
        "results/logs/prepare_images/{dataset}.log",
    conda:
        "../envs/train.yaml"
    resources:
        mem_mb=2000,
    params:
        job=lambda wildcards: job("prepare_images.py", config=PLAN.data[wildcards.dataset]),
    message:
        "Preparing the data set {wildcards.dataset}"
    script:
        "../workflow_scripts/prepare_images.py"
