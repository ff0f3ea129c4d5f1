"""Prepares the data sets: each is read from its source and divided into three disjoint splits.

Needs: nothing (digits, the standard library's text), files of yours, or the network (FashionMNIST,
the Hugging Face hub). Gives: results/<name>/data/<dataset>/ with the splits train, validation and
test, and digest.json, which describes them. Images are stored as safetensors; text is stored as
tokens with the offsets of its documents, next to the tokenizer.
"""


rule prepare_images:
    input:
        # The IDX files that the data set is made from, so that Snakemake notices a replaced file.
        lambda wildcards: SOURCE_FILES.get(wildcards.images, []),
    output:
        train=f"{ROOT}/data/{{images}}/train.safetensors",
        validation=f"{ROOT}/data/{{images}}/validation.safetensors",
        test=f"{ROOT}/data/{{images}}/test.safetensors",
        digest=f"{ROOT}/data/{{images}}/digest.json",
    log:
        f"{ROOT}/logs/prepare_images/{{images}}.log",
    conda:
        "../envs/train.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        job=lambda wildcards: data_job(wildcards.images),
    message:
        "Preparing the images {wildcards.images}"
    script:
        "../workflow_scripts/prepare.py"


rule prepare_text:
    input:
        lambda wildcards: SOURCE_FILES.get(wildcards.corpus, []),
    output:
        tokens=[f"{ROOT}/data/{{corpus}}/{split}.tokens" for split in SPLITS],
        offsets=[f"{ROOT}/data/{{corpus}}/{split}.offsets" for split in SPLITS],
        tokenizer=f"{ROOT}/data/{{corpus}}/tokenizer.json",
        digest=f"{ROOT}/data/{{corpus}}/digest.json",
    log:
        f"{ROOT}/logs/prepare_text/{{corpus}}.log",
    conda:
        "../envs/train.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(60),
    params:
        job=lambda wildcards: data_job(wildcards.corpus),
    message:
        "Preparing the text {wildcards.corpus}"
    script:
        "../workflow_scripts/prepare.py"
