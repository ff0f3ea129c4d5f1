"""Data sets: from their source to three disjoint splits.

Needs: nothing (digits, the standard library's text), files, or the network (FashionMNIST, the hub).
Gives: results/<name>/data/<dataset>/ with train, validation and test, of images as safetensors, of
text as tokens with the offsets of its documents and the tokenizer, and digest.json.
"""


rule prepare_images:
    input:
        # The IDX files that the data set is made from, so that a replaced file is noticed.
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
        mem_mb=2000,
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
        mem_mb=2000,
    params:
        job=lambda wildcards: data_job(wildcards.corpus),
    message:
        "Preparing the text {wildcards.corpus}"
    script:
        "../workflow_scripts/prepare.py"
