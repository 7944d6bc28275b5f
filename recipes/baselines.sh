#!/usr/bin/env bash
# Trains the baselines of the shipped heads: bash recipes/baselines.sh FOLDER_WITH_TISSUE [OUTPUT_FOLDER]
# Each is a U-Net (Ronneberger et al. 2015) from random weights, trained on the same images as the head of its tissue.
# They are not shipped; if they are in build/models, 'make evaluate-models' scores them beside the heads.
set -euo pipefail
data=${1:?give the folder with ebhi_glands and bcss_tumor}
out=${2:-build/models}
mkdir -p "$out"

sampath train --data "$data/ebhi_glands" --head unet --max-images 400 --max-validation-images 80 --held-out-share 0.15 \
    --epochs 8 -o "$out/unet-gland.safetensors"
sampath train --data "$data/bcss_tumor" --head unet --keep last --augmentation pixels --stain-jitter 1 --epochs 12 \
    -o "$out/unet-tumour.safetensors"
