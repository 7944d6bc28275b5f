"""SAM with an input of 256 px, random weights and small masks, for tests of "segment everything"."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from benchmarks.tiny_sam import build_tiny_sam
from segment_anything.modeling import ImageEncoderViT, PromptEncoder, Sam

from napari_sampath.encoders import EncoderInfo
from napari_sampath.encoders.sam.sam import assemble
from napari_sampath.encoders.sam.sam_format import deduce, sam_keys
from napari_sampath.predict import Model
from napari_sampath.predict.decoder.prompt_decoder import ActiveEmbedding, Attended, PromptDecoder
from napari_sampath.store import Store

INFO = EncoderInfo("small-sam", "Random weights, for tests.", "none", "", True, 0.0)


def small_sam() -> Sam:
    """Build SAM with random weights, an input of 256 px, so that crops are cheap, and the full-size decoder."""
    torch.manual_seed(0)
    tiny = build_tiny_sam()
    encoder = ImageEncoderViT(
        img_size=256,
        patch_size=16,
        embed_dim=32,
        depth=1,
        num_heads=2,
        out_chans=256,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=14,
        global_attn_indexes=(),
    )
    prompts = PromptEncoder(256, (16, 16), (256, 256), 16)
    prompts.load_state_dict(tiny.prompt_encoder.state_dict())
    mean, std = tiny.pixel_mean.flatten().tolist(), tiny.pixel_std.flatten().tolist()
    return Sam(encoder, prompts, tiny.mask_decoder, mean, std).eval()


def model_of(sam: Sam, store: Store | None = None) -> Model:
    """Build a `Model` with the weights of a Sam on the CPU."""
    state = sam_keys(sam.state_dict(), "test")
    return Model(assemble(state, deduce(state, "test"), INFO), torch.device("cpu"), store)


class Spotlight(PromptDecoder):
    """Decoder whose logits decrease with the distance from the point, so that masks are as small as objects."""

    points: torch.Tensor

    def attend(self, active: ActiveEmbedding, *prompts: Any, **options: Any) -> Attended:
        (self.points, _), *_ = prompts
        return super().attend(active, *prompts, **options)

    def logits(self, attended: Attended, chosen: torch.Tensor | None = None) -> torch.Tensor:
        assert chosen is not None
        cells = (torch.arange(self.logits_px) + 0.5) * 4
        x, y = (self.points[chosen.nonzero()[:, 0], 0] + 0.5).T
        squared = (cells - x[:, None])[:, None, :] ** 2 + (cells - y[:, None])[:, :, None] ** 2
        lit: torch.Tensor = super().logits(attended, chosen) + 3 - 0.2 * squared.sqrt()
        return lit


def spotlit_model(sam: Sam, store: Store | None = None) -> Model:
    """Build a `Model` with the weights of a Sam and masks as small as objects."""
    model = model_of(sam, store)
    assert model.decoder is not None
    spotlight = Spotlight(model.decoder.prompt_encoder, model.decoder.mask_decoder)
    model.decoder = spotlight.eval().requires_grad_(False)
    return model


def wave_image(hw: tuple[int, int]) -> np.ndarray:
    """Return an image (H, W, 3) uint8 of waves."""
    rows, cols = np.mgrid[: hw[0], : hw[1]]
    waves = [np.sin(rows / a) * np.cos(cols / b) for a, b in ((9, 14), (23, 7), (40, 31))]
    return (127.5 * (1 + np.stack(waves, axis=-1))).astype(np.uint8)
