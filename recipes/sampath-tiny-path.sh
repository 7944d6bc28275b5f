#!/usr/bin/env bash
# Trains the second shipped encoder: bash recipes/sampath-tiny-path.sh FOLDER_WITH_TISSUE [OUTPUT_FOLDER]
# SMALL=1 uses a tenth of the steps.
set -euo pipefail
data=${1:?give the folder with ebhi_glands, bbbc038_nuclei, bcss_tumor and hgsc_nuclei}
out=${2:-build/models}
mkdir -p "$out"
steps=1000
[ -n "${SMALL:-}" ] && steps=100
sampath tune --model sampath-tiny-path --recipe dense --data "$data" --start random --warmup-steps "$steps" --seed 1 \
    -o "$out/sampath-tiny-path.safetensors"
