#!/usr/bin/env bash
# Rebuilds all that is shipped, from tissue: bash recipes/models.sh FOLDER_WITH_TISSUE [OUTPUT_FOLDER]
# SMALL=1 goes the whole way with few steps and few images, and scores what comes of it on 40 images.
set -euo pipefail
here=$(dirname "$0")
data=${1:?name the folder that holds the sets of tissue}
out=${2:-build/models}
limit=(--max-images 0)
score=(--clicks 20 --closer --colours 0.8 1.2)
if [ -n "${SMALL:-}" ]; then
    limit=(--max-images 40)
    score=("${limit[@]}")
fi
for part in sampath-tiny sampath-tiny-path heads; do
    bash "$here/$part.sh" "$data" "$out"
done
sampath evaluate --prompts --data "$data" --weights "$out/sampath-tiny.safetensors" "${score[@]}" \
    --objects "$out/nucleus-cnn.safetensors" --card "$out/model-card.md"
for head in gland-cnn:ebhi_glands gland-sampath:ebhi_glands gland-autosam:ebhi_glands tumour-cnn:bcss_tumor nucleus-cnn:bbbc038_nuclei; do
    bundle=$out/${head%:*}.safetensors
    weights=$out/sampath-tiny.safetensors
    [ "${head%:*}" = gland-sampath ] && weights=$out
    [ -f "$bundle" ] || continue # SMALL=1 leaves out the heads with SAM's decoder.
    sampath evaluate --data "$data/${head#*:}" --weights "$weights" --head "$bundle" "${limit[@]}"
done
