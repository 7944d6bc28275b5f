#!/usr/bin/env bash
# Trains the shipped model: bash recipes/sampath-tiny.sh FOLDER_WITH_TISSUE [OUTPUT_FOLDER]
# The shipped weights took about six hours on two busy cores; the file records their training (see docs/model-card.md).
# SMALL=1 uses few steps: dense targets, then prompts on parts of windows.
set -euo pipefail
data=${1:?give the folder with ebhi_glands, bbbc038_nuclei, bcss_tumor and hgsc_nuclei}
out=${2:-build/models}
mkdir -p "$out"

if [ -n "${SMALL:-}" ]; then
    sampath tune --recipe pretrain --data "$data" -o "$out/small1.safetensors" --warmup-steps 400 --steps 0 --average 0.99
    sampath tune --recipe pretrain --data "$data" --start "$out/small1.safetensors" -o "$out/sampath-tiny.safetensors" \
        --warmup-steps 0 --steps 300 --part-px 256 --parts 2 --prompts 12 --iterations 1 --full-frame-share 0.1 \
        --box-noise 0.04 --inner-points --dense-weight 0.5 --average 0.98
    exit
fi

# 1. Dense targets (1,800 steps), and a few steps with prompts.
sampath tune --recipe pretrain --data "$data" -o "$out/stage1.safetensors" --warmup-steps 1800 --steps 100

# 2. Prompts: points and noisy boxes, corrected once.
prompts=(--warmup-steps 0 --prompts 6 --iterations 2 --dense-weight 0.5 --average 0.995 --save-every 100)
sampath tune --recipe pretrain --data "$data" --start "$out/stage1.safetensors" -o "$out/stage2.safetensors" \
    "${prompts[@]}" --steps 1200 --full-frame-share 0.15 --learning-rate 8e-4 --seed 1

# 3. The same with more whole frames, as in use.
sampath tune --recipe pretrain --data "$data" --start "$out/stage2.safetensors" -o "$out/stage3.safetensors" \
    "${prompts[@]}" --steps 450 --full-frame-share 0.3 --learning-rate 5e-4 --seed 2

# 4. The convolutions that spread a prompt, with all other weights frozen.
sampath tune --recipe pretrain --data "$data" --start "$out/stage3.safetensors" -o "$out/stage4.safetensors" --warmup-steps 0 \
    --spread-steps 1000 --steps 0 --prompts 10 --point-share 0.65 --full-frame-share 0.25 --learning-rate 2e-3 \
    --average 0.99 --train-only mask_decoder.spread,prompt_encoder.place_embedding --seed 5

# 5. The whole prompt encoder and mask decoder.
sampath tune --recipe pretrain --data "$data" --start "$out/stage4.safetensors" -o "$out/stage5.safetensors" --warmup-steps 0 \
    --steps 520 --prompts 6 --iterations 2 --point-share 0.65 --full-frame-share 0.3 --learning-rate 8e-4 \
    --average 0.99 --train-only mask_decoder,prompt_encoder --seed 6

# 6. The predicted IoU of the averaged weights, which selects a candidate; the masks do not change.
sampath tune --recipe pretrain --data "$data" --start "$out/stage5.safetensors" -o "$out/stage6.safetensors" --warmup-steps 0 \
    --steps 160 --train-only mask_decoder.iou_prediction_head --iterations 1 --prompts 8 --point-share 0.7 \
    --full-frame-share 0.7 --learning-rate 1e-3 --average 0.97 --seed 7

# 7. Edges of many small objects: small windows, boxes and points like those of users.
people=(--box-noise 0.04 --inner-points)
sampath tune --recipe pretrain --data "$data" --start "$out/stage6.safetensors" -o "$out/stage7.safetensors" --warmup-steps 0 \
    --steps 700 --side-px 256 --windows 6 --prompts 8 --iterations 1 --full-frame-share 0.35 --learning-rate 6e-4 \
    --average 0.99 --train-only mask_decoder,prompt_encoder "${people[@]}" --seed 8

# 8. Large objects and corrections, mostly on whole frames.
sampath tune --recipe pretrain --data "$data" --start "$out/stage7.safetensors" -o "$out/stage8.safetensors" --warmup-steps 0 \
    --steps 240 --prompts 5 --iterations 2 --point-share 0.65 --full-frame-share 0.7 --learning-rate 5e-4 \
    --average 0.98 --train-only mask_decoder,prompt_encoder "${people[@]}" --seed 9

# 9 to 11. a: also the encoder, with prompts on parts of its windows, which allows many more prompts in the same time.
# b: whole frames, so that masks do not extend far from the prompt. c: the predicted IoU of these masks.
together() { # START STEPS SEED A B C
    sampath tune --recipe pretrain --data "$data" --start "$out/$1.safetensors" -o "$out/$4.safetensors" --warmup-steps 0 \
        --steps "$2" --part-px 256 --parts 2 --prompts 12 --iterations 2 --point-share 0.55 --full-frame-share 0.15 \
        --learning-rate 7e-4 --dense-weight 0.5 "${people[@]}" --seed "$3"
    sampath tune --recipe pretrain --data "$data" --start "$out/$4.safetensors" -o "$out/$5.safetensors" --warmup-steps 0 \
        --steps 250 --part-px 256 --parts 2 --prompts 20 --iterations 2 --point-share 0.65 --full-frame-share 0.7 \
        --learning-rate 4e-4 --average 0.98 --train-only mask_decoder,prompt_encoder "${people[@]}" --seed "$(($3 + 1))"
    sampath tune --recipe pretrain --data "$data" --start "$out/$5.safetensors" -o "$out/$6.safetensors" --warmup-steps 0 \
        "${judge[@]}" --seed "$(($3 + 2))"
}
judge=(--steps 120 --train-only mask_decoder.iou_prediction_head --iterations 1 --prompts 8 --point-share 0.75
    --full-frame-share 0.8 --learning-rate 1e-3 --average 0.97 "${people[@]}")
together stage8 3000 10 stage9 stage10 stage11

# 12 to 14. The same again. For the shipped weights, rotated crops and the shares of the kinds were introduced here.
together stage11 2800 13 stage12 stage13 stage14

# 15. The mean of the three, better than each of them except for boxes of glands, and its predicted IoU.
sampath tune --recipe pretrain --data "$data" --start "$out/stage14.safetensors" -o "$out/sampath-tiny.safetensors" --warmup-steps 0 \
    --merge "$out/stage11.safetensors" "$out/stage12.safetensors" "${judge[@]}" --seed 16
