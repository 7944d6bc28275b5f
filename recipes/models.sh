#!/usr/bin/env bash
# Trains all models in the package: bash recipes/models.sh FOLDER_WITH_TISSUE [OUTPUT_FOLDER]
# SMALL=1 runs every step briefly, on few images, and scores the result on 40 images. Run it from the repository.
set -euo pipefail
here=$(dirname "$0")
data=${1:?give the folder with the tissue sets}
out=${2:-build/models}
limit=(--max-images 0)
score=(--clicks 20 --high-resolution --colours 0.8 1.2)
if [ -n "${SMALL:-}" ]; then
    limit=(--max-images 40)
    score=("${limit[@]}")
fi
for part in sampath-tiny sampath-tiny-path heads; do
    bash "$here/$part.sh" "$data" "$out"
done
python -m benchmarks.model_card --data "$data" --weights "$out/sampath-tiny.safetensors" "${score[@]}" \
    --objects "$out/nucleus-cnn.safetensors" --card "$out/model-card.md"
for head in gland-cnn:ebhi_glands gland-sampath:ebhi_glands gland-autosam:ebhi_glands tumour-cnn:bcss_tumor nucleus-cnn:bbbc038_nuclei; do
    bundle=$out/${head%:*}.safetensors
    weights=$out/sampath-tiny.safetensors
    [ "${head%:*}" = gland-sampath ] && weights=$out
    [ -f "$bundle" ] || continue # SMALL=1 skips the heads with SAM's decoder.
    sampath evaluate --data "$data/${head#*:}" --weights "$weights" --head "$bundle" "${limit[@]}"
done
