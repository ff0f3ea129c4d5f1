"""Data sets: from their source to three disjoint splits.

Needs: nothing (digits, the standard library's text), files, or the network (FashionMNIST, the hub).
Gives: results/data/<dataset>/ with train, validation and test, of images as safetensors, of text as
tokens with the offsets of its documents and the tokenizer, and digest.json.
"""


rule prepare_images:
    input:
        # The IDX files that the data set is made from, so that a replaced file is noticed.
        lambda wildcards: SOURCE_FILES.get(wildcards.images, []),
    output:
        train="results/data/{images}/train.safetensors",
        validation="results/data/{images}/validation.safetensors",
        test="results/data/{images}/test.safetensors",
        digest="results/data/{images}/digest.json",
    log:
        "results/logs/prepare_images/{images}.log",
    conda:
        "../envs/train.yaml"
    resources:
        mem_mb=2000,
    params:
        job=lambda wildcards: prepare_job("prepare_images.py", wildcards.images),
    message:
        "Preparing the data set {wildcards.images}"
    script:
        "../workflow_scripts/prepare_images.py"


rule prepare_text:
    input:
        lambda wildcards: SOURCE_FILES.get(wildcards.corpus, []),
    output:
        tokens=[f"results/data/{{corpus}}/{split}.tokens" for split in SPLITS],
        offsets=[f"results/data/{{corpus}}/{split}.offsets" for split in SPLITS],
        tokenizer="results/data/{corpus}/tokenizer.json",
        digest="results/data/{corpus}/digest.json",
    log:
        "results/logs/prepare_text/{corpus}.log",
    conda:
        "../envs/train.yaml"
    resources:
        mem_mb=2000,
    params:
        job=lambda wildcards: prepare_job("prepare_text.py", wildcards.corpus),
    message:
        "Preparing the corpus {wildcards.corpus}"
    script:
        "../workflow_scripts/prepare_text.py"
