"""SAM with a small encoder and random weights, for benchmarks and tests that need real prompting."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

from napari_sampath.encoders import EncoderInfo
from napari_sampath.encoders.sam.sam import assemble
from napari_sampath.encoders.sam.sam_format import deduce, sam_keys
from napari_sampath.predict import Model

if TYPE_CHECKING:
    from napari_sampath.store import Store

_LEARNED = (
    "pos_embed",
    "rel_pos",
    "gaussian",
    "point_embeddings",
    "_point_embed",
    "_mask_embed",
    "tokens",
    "iou_token",
)
"""Parts of names of parameters that are not scaled; other matrices are scaled by their fan-in."""

INFO = EncoderInfo("tiny-sam", "Random weights, for tests.", "none", "", True, 16.0)


def build_tiny_sam(seed: int = 0, input_px: int = 1024) -> Sam:
    """Build a `segment_anything` Sam of 4.1 M parameters: ViT of width 32 and depth 2, 256 output channels.

    All weights are random, including position embeddings, which SAM initialises with zeros. They are scaled so that
    mask logits have both signs on every image.
    """
    generator = torch.Generator().manual_seed(seed)
    grid = input_px // 16
    sam = Sam(
        image_encoder=ImageEncoderViT(
            img_size=input_px,
            patch_size=16,
            embed_dim=32,
            depth=2,
            num_heads=2,
            mlp_ratio=4,
            out_chans=256,
            qkv_bias=True,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=14,
            global_attn_indexes=(1,),
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=256,
            image_embedding_size=(grid, grid),
            input_image_size=(input_px, input_px),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8),
            transformer_dim=256,
            iou_head_depth=3,
            iou_head_hidden_dim=256,
        ),
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
    )
    with torch.no_grad():
        for name, tensor in sam.state_dict().items():
            if tensor.ndim == 1:
                noise = torch.randn(tensor.shape, generator=generator) * 0.1
                tensor.copy_(noise + (1.0 if name.endswith("weight") else 0.0))
            elif any(learned in name for learned in _LEARNED):
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
            else:
                fan_in = tensor[0].numel()
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 1.3 / fan_in**0.5)
    return sam.eval()


def tiny_model(store: Store | None = None, seed: int = 0, input_px: int = 1024) -> Model:
    """Build a `Model` with the weights of `build_tiny_sam` on the CPU."""
    state = sam_keys(build_tiny_sam(seed, input_px).state_dict(), "tiny-sam")
    return Model(assemble(state, deduce(state, "tiny-sam"), INFO), torch.device("cpu"), store)
