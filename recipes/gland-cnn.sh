#!/usr/bin/env bash
# Rebuilds the shipped head `gland-cnn`: bash recipes/gland-cnn.sh FOLDER_WITH_TISSUE [OUTPUT_FOLDER]
# Ten minutes on two cores. Train it again whenever the weights of sampath-tiny change: a bundle names its encoder.
set -euo pipefail
data=${1:?name the folder that holds ebhi_glands}
out=${2:-build/models}
mkdir -p "$out"
sampath train --data "$data/ebhi_glands" --head cnn --head-argument depth=2 --head-argument top_channel=32 \
    --max-images 200 --max-validation-images 80 --held-out-share 0.15 --epochs 8 -o "$out/gland-cnn.safetensors"
sampath evaluate --data "$data/ebhi_glands" --head "$out/gland-cnn.safetensors"
