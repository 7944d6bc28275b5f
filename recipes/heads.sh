#!/usr/bin/env bash
# Rebuilds the shipped heads: bash recipes/heads.sh FOLDER_WITH_TISSUE [OUTPUT_FOLDER]
# They read the encoders that lie in the output folder, or else the shipped ones. Train them again whenever weights of an
# encoder change: a bundle names the encoder it was trained on.
# SMALL=1 trains on few images, and leaves out the heads with a decoder of SAM.
set -euo pipefail
data=${1:?name the folder that holds ebhi_glands, bbbc038_nuclei, bcss_tumor and hgsc_nuclei}
out=${2:-build/models}
mkdir -p "$out"

own=()
[ -f "$out/sampath-tiny.safetensors" ] && own=(--weights "$out/sampath-tiny.safetensors")
images=400
[ -n "${SMALL:-}" ] && images=60
choose=(--max-images "$images" --max-validation-images 80 --held-out-share 0.15)
# Two slides of tumour, few fields of nuclei: nothing can be set aside to choose by, so the last epoch is kept, and
# stain and orientation are varied instead.
fixed=(--keep last --augmentation pixels --stain-jitter 1)

cnn=(--head cnn --head-argument depth=2 --head-argument top_channel=32)
sampath train --data "$data/ebhi_glands" ${own[@]+"${own[@]}"} "${cnn[@]}" "${choose[@]}" --epochs 8 -o "$out/gland-cnn.safetensors"
# A second patient's tumour, drawn around nuclei, lies among lymphocytes: there are none in the first one's. Another patient's
# tumour is less sure than these: a quarter is enough (chosen on the validation images, of one patient).
sampath train --data "$data/bcss_tumor" --also "$data/hgsc_nuclei" ${own[@]+"${own[@]}"} "${cnn[@]}" "${fixed[@]}" \
    --loss-argument object_weight=3 --epochs 6 -o "$out/tumour-cnn.safetensors"
sampath train --data "$data/bbbc038_nuclei" ${own[@]+"${own[@]}"} "${cnn[@]}" "${fixed[@]}" --smallest-scale 0.33 --epochs 9 -o "$out/nucleus-cnn.safetensors"
if [ -z "${SMALL:-}" ]; then
    both=()
    [ -f "$out/sampath-tiny.safetensors" ] && both=(--weights "$out")
    few=(--max-images 300 --max-validation-images 60 --held-out-share 0.15 --learning-rate 3e-4 --head-precision bfloat16 --epochs 2)
    sampath train --data "$data/ebhi_glands" --model sampath-tiny+sampath-tiny-path ${both[@]+"${both[@]}"} --head sampath \
        "${few[@]}" -o "$out/gland-sampath.safetensors"
    sampath train --data "$data/ebhi_glands" ${own[@]+"${own[@]}"} --head autosam "${few[@]}" -o "$out/gland-autosam.safetensors"
fi
