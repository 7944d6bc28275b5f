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

# 9. The encoder with it: prompts on parts of the windows that it sees, many times as many for the time.
sampath tune --recipe pretrain --data "$data" --start "$out/stage8.safetensors" -o "$out/stage9.safetensors" --warmup-steps 0 \
    --steps 3000 --part-px 256 --parts 2 --prompts 12 --iterations 2 --point-share 0.55 --full-frame-share 0.15 \
    --learning-rate 7e-4 --dense-weight 0.5 "${people[@]}" --seed 10

# 10. Whole frames again: what is far from the prompt is not meant.
sampath tune --recipe pretrain --data "$data" --start "$out/stage9.safetensors" -o "$out/stage10.safetensors" --warmup-steps 0 \
    --steps 250 --part-px 256 --parts 2 --prompts 20 --iterations 2 --point-share 0.65 --full-frame-share 0.7 \
    --learning-rate 4e-4 --average 0.98 --train-only mask_decoder,prompt_encoder "${people[@]}" --seed 11

# 11. The predicted IoU of these masks.
sampath tune --recipe pretrain --data "$data" --start "$out/stage10.safetensors" -o "$out/stage11.safetensors" --warmup-steps 0 \
    --steps 120 --train-only mask_decoder.iou_prediction_head --iterations 1 --prompts 8 --point-share 0.75 \
    --full-frame-share 0.8 --learning-rate 1e-3 --average 0.97 "${people[@]}" --seed 12

# 12 to 14. Stages 9 to 11 once more. The shipped weights saw crops at any angle, and more nuclei and tumour than glands,
# from here on only.
sampath tune --recipe pretrain --data "$data" --start "$out/stage11.safetensors" -o "$out/stage12.safetensors" --warmup-steps 0 \
    --steps 2800 --part-px 256 --parts 2 --prompts 12 --iterations 2 --point-share 0.55 --full-frame-share 0.15 \
    --learning-rate 7e-4 --dense-weight 0.5 "${people[@]}" --seed 13
sampath tune --recipe pretrain --data "$data" --start "$out/stage12.safetensors" -o "$out/stage13.safetensors" --warmup-steps 0 \
    --steps 250 --part-px 256 --parts 2 --prompts 20 --iterations 2 --point-share 0.65 --full-frame-share 0.7 \
    --learning-rate 4e-4 --average 0.98 --train-only mask_decoder,prompt_encoder "${people[@]}" --seed 14
sampath tune --recipe pretrain --data "$data" --start "$out/stage13.safetensors" -o "$out/stage14.safetensors" --warmup-steps 0 \
    --steps 120 --train-only mask_decoder.iou_prediction_head --iterations 1 --prompts 8 --point-share 0.75 \
    --full-frame-share 0.8 --learning-rate 1e-3 --average 0.97 "${people[@]}" --seed 15

# 15. The mean of the three, better than each of them but for boxes of glands. It predicts its IoU anew.
sampath tune --recipe pretrain --data "$data" --start "$out/stage14.safetensors" -o "$out/sampath-tiny.safetensors" --warmup-steps 0 \
    --merge "$out/stage11.safetensors" "$out/stage12.safetensors" --steps 120 --iterations 1 --prompts 8 --point-share 0.75 \
    --train-only mask_decoder.iou_prediction_head --full-frame-share 0.8 --learning-rate 1e-3 --average 0.97 "${people[@]}" --seed 16
