#!/usr/bin/env bash
# Trains the shipped heads and one for tumour, which is not shipped (see the model card): bash recipes/heads.sh FOLDER_WITH_TISSUE [OUTPUT_FOLDER]
# They use the encoders in the output folder, or else the shipped ones. Train them again whenever the weights of an encoder
# change, because a bundle can only be used with the encoder it was trained on.
# SMALL=1 trains on few images, and skips the heads with a decoder of SAM.
set -euo pipefail
data=${1:?give the folder with ebhi_glands, bbbc038_nuclei, bcss_tumor and hgsc_nuclei}
out=${2:-build/models}
mkdir -p "$out"

own=()
[ -f "$out/sampath-tiny.safetensors" ] && own=(--weights "$out/sampath-tiny.safetensors")
images=400 mosaics=600
[ -n "${SMALL:-}" ] && images=60 mosaics=90
choose=(--max-images "$images" --max-validation-images 80 --held-out-share 0.15)
# There are two slides of tumour and few fields of nuclei, too few to hold out some for choosing an epoch. So the last
# epoch is kept, and stain and orientation are augmented.
fixed=(--keep last --augmentation pixels --stain-jitter 1)

# Glands at a quarter to all of their size in a single image, so that tiles up to four images wide can be segmented, too.
# gland-autosam learns from single images only: trained like gland-sampath, its pooled Dice on 208 single validation
# images was 0.922 (the shipped one: 0.930).
scales=(--mosaics "$mosaics" --smallest-scale 0.25)

cnn=(--head cnn --head-argument depth=2 --head-argument top_channel=32)
sampath train --data "$data/ebhi_glands" ${own[@]+"${own[@]}"} "${cnn[@]}" "${choose[@]}" "${scales[@]}" \
    --epochs 12 -o "$out/gland-cnn.safetensors"
# The tumour of the second patient (regions drawn around nuclei) is surrounded by lymphocytes, that of the first is not. Heads
# are less certain on other patients, so a probability of 1/4 is enough for tumour (chosen on the validation images).
sampath train --data "$data/bcss_tumor" --also "$data/hgsc_nuclei" ${own[@]+"${own[@]}"} "${cnn[@]}" "${fixed[@]}" \
    --loss-argument object_weight=3 --epochs 6 -o "$out/tumour-cnn.safetensors"
sampath train --data "$data/bbbc038_nuclei" ${own[@]+"${own[@]}"} "${cnn[@]}" "${fixed[@]}" --smallest-scale 0.33 --epochs 9 -o "$out/nucleus-cnn.safetensors"
if [ -z "${SMALL:-}" ]; then
    both=()
    [ -f "$out/sampath-tiny.safetensors" ] && both=(--weights "$out")
    few=(--max-images 300 --held-out-share 0.15 --head-precision bfloat16)
    # Two runs of one epoch each: the second continues the first at half the rate.
    sampath=(--data "$data/ebhi_glands" --model sampath-tiny+sampath-tiny-path ${both[@]+"${both[@]}"} --head sampath
        "${few[@]}" --mosaics 225 --smallest-scale 0.25 --epochs 1)
    sampath train "${sampath[@]}" --max-validation-images 60 --learning-rate 3e-4 --warmup-epochs 0.25 \
        -o "$out/gland-sampath-1.safetensors"
    sampath train "${sampath[@]}" --max-validation-images 30 --learning-rate 1.5e-4 --warmup-epochs 0.1 --keep last \
        --start "$out/gland-sampath-1.safetensors" -o "$out/gland-sampath.safetensors"
    sampath train --data "$data/ebhi_glands" ${own[@]+"${own[@]}"} --head autosam "${few[@]}" --max-validation-images 60 \
        --learning-rate 3e-4 --epochs 2 -o "$out/gland-autosam.safetensors"
fi
