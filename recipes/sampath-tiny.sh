#!/usr/bin/env bash
# Rebuilds the shipped model from tissue: bash recipes/sampath-tiny.sh FOLDER_WITH_TISSUE [OUTPUT_FOLDER]
# The shipped weights took about six hours on two busy cores; their own record is in the file (see docs/model-card.md).
# SMALL=1 takes few steps: tissue, then prompts on parts of windows.
set -euo pipefail
data=${1:?name the folder that holds ebhi_glands, bbbc038_nuclei, bcss_tumor and hgsc_nuclei}
out=${2:-build/models}
mkdir -p "$out"

if [ -n "${SMALL:-}" ]; then
    sampath tune --recipe pretrain --data "$data" -o "$out/small1.safetensors" --warmup-steps 400 --steps 0 --average 0.99
    sampath tune --recipe pretrain --data "$data" --start "$out/small1.safetensors" -o "$out/sampath-tiny.safetensors" \
        --warmup-steps 0 --steps 300 --part-px 256 --parts 2 --prompts 12 --iterations 1 --full-frame-share 0.1 \
        --box-noise 0.04 --inner-points --dense-weight 0.5 --average 0.98
    exit
fi

# 1. What is in tissue and where objects end (1,800 steps), and a first taste of prompts.
sampath tune --recipe pretrain --data "$data" -o "$out/stage1.safetensors" --warmup-steps 1800 --steps 100

# 2. Prompts: points and noisy boxes, corrected once.
prompts=(--warmup-steps 0 --prompts 6 --iterations 2 --dense-weight 0.5 --average 0.995 --save-every 100)
sampath tune --recipe pretrain --data "$data" --start "$out/stage1.safetensors" -o "$out/stage2.safetensors" \
    "${prompts[@]}" --steps 1200 --full-frame-share 0.15 --learning-rate 8e-4 --seed 1

# 3. The same with more whole frames, as images are met in use.
sampath tune --recipe pretrain --data "$data" --start "$out/stage2.safetensors" -o "$out/stage3.safetensors" \
    "${prompts[@]}" --steps 450 --full-frame-share 0.3 --learning-rate 5e-4 --seed 2

# 4. How far an object reaches from its prompt: the spreading convolutions alone, on features that stay as they are.
sampath tune --recipe pretrain --data "$data" --start "$out/stage3.safetensors" -o "$out/stage4.safetensors" --warmup-steps 0 \
    --spread-steps 1000 --steps 0 --prompts 10 --point-share 0.65 --full-frame-share 0.25 --learning-rate 2e-3 \
    --average 0.99 --train-only mask_decoder.spread,prompt_encoder.place_embedding --seed 5

# 5. The whole prompt side with it.
sampath tune --recipe pretrain --data "$data" --start "$out/stage4.safetensors" -o "$out/stage5.safetensors" --warmup-steps 0 \
    --steps 520 --prompts 6 --iterations 2 --point-share 0.65 --full-frame-share 0.3 --learning-rate 8e-4 \
    --average 0.99 --train-only mask_decoder,prompt_encoder --seed 6

# 6. The predicted IoU of the averaged weights, by which a candidate is chosen; the masks stay as they are.
sampath tune --recipe pretrain --data "$data" --start "$out/stage5.safetensors" -o "$out/stage6.safetensors" --warmup-steps 0 \
    --steps 160 --train-only mask_decoder.iou_prediction_head --iterations 1 --prompts 8 --point-share 0.7 \
    --full-frame-share 0.7 --learning-rate 1e-3 --average 0.97 --seed 7

# 7. The edges of many small objects: small windows, boxes as people draw them, points where people click.
people=(--box-noise 0.04 --inner-points)
sampath tune --recipe pretrain --data "$data" --start "$out/stage6.safetensors" -o "$out/stage7.safetensors" --warmup-steps 0 \
    --steps 700 --side-px 256 --windows 6 --prompts 8 --iterations 1 --full-frame-share 0.35 --learning-rate 6e-4 \
    --average 0.99 --train-only mask_decoder,prompt_encoder "${people[@]}" --seed 8

# 8. Large objects and corrections again, mostly on whole frames.
sampath tune --recipe pretrain --data "$data" --start "$out/stage7.safetensors" -o "$out/stage8.safetensors" --warmup-steps 0 \
    --steps 240 --prompts 5 --iterations 2 --point-share 0.65 --full-frame-share 0.7 --learning-rate 5e-4 \
    --average 0.98 --train-only mask_decoder,prompt_encoder "${people[@]}" --seed 9

# 9 to 11. a: the encoder with it, prompts on parts of the windows that it sees, many times as many for the time.
# b: whole frames again, what is far from the prompt is not meant. c: the predicted IoU of these masks.
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

# 12 to 14. Once more. The shipped weights saw crops at any angle, and more nuclei and tumour than glands, from here on only.
together stage11 2800 13 stage12 stage13 stage14

# 15. The mean of the three, better than each of them but for boxes of glands. It predicts its IoU anew.
sampath tune --recipe pretrain --data "$data" --start "$out/stage14.safetensors" -o "$out/sampath-tiny.safetensors" --warmup-steps 0 \
    --merge "$out/stage11.safetensors" "$out/stage12.safetensors" "${judge[@]}" --seed 16
