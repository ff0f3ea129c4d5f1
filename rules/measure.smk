"""Measures finished runs, with one rule for each measurement that is declared in `muonlab.probes`.

Needs: the reporting runs. Gives: results/<name>/<study>/<measurement>/<arm>/seed-<n>.parquet, or
<arm>.parquet if one job measures all runs of an arm; and results/<name>/<study>/overhead/, which
says where the time of a step goes for two arms (profile.json, and trace.json.gz, which
ui.perfetto.dev can show).
"""

for made in OUTPUTS.registry.measurements.values():

    rule:
        name:
            f"measure_{made.name}"
        input:
            unpack(measuring_inputs(made)),
        output:
            f"{ROOT}/{{study}}/{made.name}/{OUTPUTS.place(made)}.parquet",
        log:
            f"{ROOT}/logs/measure_{made.name}/{{study}}/{OUTPUTS.place(made)}.log",
        wildcard_constraints:
            study=one_of(OUTPUTS.having(made)),
        # Measurements run before further training, because every waiting job costs the scheduler
        # time.
        priority: 10
        conda:
            "../envs/measure.yaml"
        threads: 1
        resources:
            mem_mb=growing(made.memory_mb),
            runtime=growing(60),
            gpu=0,
            gpu_slots=1,
        params:
            job=measuring_job(made),
        message:
            f"Measuring the {made.name} of {{wildcards.study}}, {{wildcards.arm}}"
        script:
            "../workflow_scripts/measure.py"


rule profile_overhead:
    """Profiles the steps of two arms while no other job of this invocation runs.

    The rule reserves all cores for that. It cannot keep other programs or users away, so the two
    arms take turns step by step, medians are reported, and the load of the machine is recorded. On
    a cluster, request a node for this job alone
    (`set-resources: profile_overhead:slurm_extra="'--exclusive'"`).
    """
    input:
        runs=lambda wildcards: OUTPUTS.profiled_runs(chosen(wildcards.study)),
        settled=lambda wildcards: settled(wildcards.study),
        digest=lambda wildcards: f"{ROOT}/data/{profiled_data(wildcards)}/digest.json",
        splits=lambda wildcards: ancient(OUTPUTS.data_files(profiled_data(wildcards))),
    output:
        profile=f"{ROOT}/{{study}}/overhead/profile.json",
        trace=f"{ROOT}/{{study}}/overhead/trace.json.gz",
    log:
        f"{ROOT}/logs/profile_overhead/{{study}}.log",
    conda:
        "../envs/train.yaml"
    threads: lambda wildcards: all_cores()
    resources:
        mem_mb=growing(2500),
        runtime=growing(60),
        gpu=0,
        gpu_slots=1,
    params:
        job=overhead_job,
    message:
        "Profiling the steps of {wildcards.study}"
    script:
        "../workflow_scripts/profile_overhead.py"
