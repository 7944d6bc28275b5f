#!/usr/bin/env bash
# Trains sampath-tiny on one large GPU within a time limit: bash recipes/gpu.sh FOLDER_WITH_TISSUE [OUTPUT_FOLDER] [MINUTES]
# It replaces the stages of sampath-tiny.sh by three: dense targets, then spread prompts, then prompts on parts of windows;
# prompts on whole frames; the predicted IoU. Augmentation, simulated prompts and the evaluation run on the GPU, in bfloat16.
# A run that was stopped continues: finished stages are kept, and an unfinished one starts from its last averaged weights.
#
# The machine needs Python with torch, torchvision and timm, and no connection. Other packages can be carried as wheels; if
# SciPy, scikit-image, tifffile, huggingface-hub, filelock, psutil, PyYAML, requests and xxhash are there, these four are enough:
#   pip download --no-deps -d wheels segment-anything platformdirs google-crc32c imagecodecs   # on a machine of the same kind
#   WHEELS=wheels bash recipes/gpu.sh ...                                                      # on the machine with the GPU
# PYTHON chooses the Python, WINDOWS the windows per step, which are halved until they fit in memory.
# SMALL=1 checks on any device that everything runs: few steps, images and windows.
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
data=${1:?give the folder with ebhi_glands, bbbc038_nuclei, bcss_tumor and hgsc_nuclei}
out=${2:-build/gpu}
minutes=${3:-8}
mkdir -p "$out"
. "$repository/scripts/carried_python.sh" "$out"

steps=(--warmup-steps 4000 --spread-steps 600 --steps 7400)
windows=(--windows "${WINDOWS:-32}")
part=(--part-px 256 --parts 2)
few=()
images=(--max-images 24)
if [ -n "${SMALL:-}" ]; then
    steps=(--warmup-steps 1 --spread-steps 1 --steps 1)
    windows=(--windows 2 --side-px 64)
    part=()
    few=(--steps 1)
    images=(--max-images 3)
else
    export SAMPATH_DEVICE=${SAMPATH_DEVICE:-cuda} SAMPATH_PRECISION=${SAMPATH_PRECISION:-bfloat16}
fi

stage() { # NAME START PERCENT_OF_THE_TIME OPTIONS...
    local file=$out/$1.safetensors start=$2 share=$3
    shift 3
    [ -f "$file" ] && return
    [ -f "${file%.safetensors}.checkpoint" ] && start=${file%.safetensors}.checkpoint
    sampath tune --recipe pretrain --data "$data" --start "$start" -o "$file" "${windows[@]}" \
        --max-minutes "$("$python" -c "print($minutes * $share / 100)")" "$@"
}
people=(--box-noise 0.04 --inner-points)

# Starting four processes and the evaluation take the remaining 22 % of the time.
stage together random 56 "${steps[@]}" "${part[@]}" --prompts 12 --iterations 2 --point-share 0.55 --full-frame-share 0.1 \
    --learning-rate 1e-3 --dense-weight 0.5 --average 0.995 "${people[@]}" --seed 1
stage frames "$out/together.safetensors" 16 --warmup-steps 0 --steps 3000 "${part[@]}" --prompts 16 --iterations 2 \
    --point-share 0.65 --full-frame-share 0.7 --learning-rate 5e-4 --average 0.98 --train-only mask_decoder,prompt_encoder \
    "${people[@]}" --seed 2 "${few[@]}"
stage sampath-tiny "$out/frames.safetensors" 6 --warmup-steps 0 --steps 1200 --iterations 1 --prompts 8 --point-share 0.75 \
    --full-frame-share 0.8 --learning-rate 1e-3 --average 0.97 --train-only mask_decoder.iou_prediction_head \
    "${people[@]}" --seed 3 "${few[@]}"

left=$("$python" -c "print(max(30, int(60 * $minutes) - $SECONDS))")
evaluate=(-m napari_sampath evaluate --prompts --data "$data" --weights "$out/sampath-tiny.safetensors")
timeout "$left" "$python" "${evaluate[@]}" "${images[@]}" || {
    printf 'The evaluation did not end in time; run it again with: %s %s\n' "$python" "${evaluate[*]}" >&2
    exit 1
}
