#!/usr/bin/env bash
# Trains what the shipped heads are compared with: bash recipes/baselines.sh FOLDER_WITH_TISSUE [OUTPUT_FOLDER]
# A U-Net (Ronneberger et al. 2015) from random weights, on the images that the heads of the same tissue are trained on.
# They are not shipped; where they lie in build/models, 'make evaluate-models' puts their scores beside the heads'.
set -euo pipefail
data=${1:?name the folder that holds ebhi_glands and bcss_tumor}
out=${2:-build/models}
mkdir -p "$out"

sampath train --data "$data/ebhi_glands" --head unet --max-images 400 --max-validation-images 80 --held-out-share 0.15 \
    --epochs 8 -o "$out/unet-gland.safetensors"
sampath train --data "$data/bcss_tumor" --head unet --keep last --augmentation pixels --stain-jitter 1 --epochs 12 \
    -o "$out/unet-tumour.safetensors"
