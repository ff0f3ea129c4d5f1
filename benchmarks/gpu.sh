#!/usr/bin/env bash
# Everything that needs a GPU, within ten minutes: the tests that are skipped without one, the
# optimizer's step and a language model's training side by side with their peers, what may raise the
# GPU's utilisation, one short study, and a short run of the model of the dynamics study with its
# records. Ends with a table of the targets.
#
#     benchmarks/gpu.sh [folder for the records, by default gpu-results]
#
# Needs envs/requirements-dev.txt. Parts that fail are named at the end, and the others still run.
set -uo pipefail
cd "$(dirname "$0")/.."
out=${1:-gpu-results}

if ! python -c "import sys, torch; sys.exit(not torch.cuda.is_available())"; then
    echo "benchmarks/gpu.sh: torch sees no GPU on this machine" >&2
    exit 1
fi
mkdir -p "$out"
failed=()

# part NAME SECONDS COMMAND...: runs a part, for at most so many seconds.
part() {
    printf '\n=== %s (%s s)\n' "$1" "$SECONDS"
    timeout "$2" "${@:3}" 2>&1 | tee "$out/${1// /-}.log"
    [ "${PIPESTATUS[0]}" -eq 0 ] || failed+=("$1")
}

nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader | tee "$out/gpu.txt"
part "tests" 120 python -m pytest -q -n 4 tests/unit/test_cuda.py tests/unit/test_muon.py -k "cuda or gpu"
part "optimizer" 60 python benchmarks/optimizer_step.py --device cuda --dtypes auto \
    --sets fashion dense256 moe 88m --all-layers --pairs 7 --json "$out/optimizer.jsonl"
part "training" 60 python benchmarks/lm_training.py --device cuda --dtypes bfloat16 \
    --shapes moe 88m --full-batch --steps 8 --json "$out/training.jsonl"
part "utilisation" 150 python benchmarks/gpu_utilisation.py --variants 4 \
    --json "$out/utilisation.jsonl"
part "short study" 120 python -m snakemake --cores 4 \
    --set-resources train_trial:gpu=1 --resources gpu=1 --configfile benchmarks/gpu_study.yaml -- \
    results/gpu/moe/tuning/selection.json
part "dynamics" 90 python benchmarks/dynamics_training.py results/gpu/data/python "$out/dynamics" \
    --steps 100 --records-every 100 --compile --json "$out/dynamics.jsonl"
python benchmarks/gpu_targets.py "$out"

printf '\n%s s; failed: %s\n' "$SECONDS" "${failed[*]:-nothing}"
[ "${#failed[@]}" -eq 0 ]
