"""Time of "segment everything", compared with SamAutomaticMaskGenerator: same weights, image and settings, on the CPU.

Wall-clock times are for complete calls, including the encoder.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from .models import load, tissue
from .table import REPEATS, Row, alternate, timed

if TYPE_CHECKING:
    import numpy as np
    from segment_anything import SamAutomaticMaskGenerator

    from napari_sampath.predict import EverythingSettings, Model

SHARES = 0.35, 0.5
"""Fraction of candidates that pass the predicted IoU threshold, and fraction of those that pass the stability one."""
SIDE_PX = 1024


def rows(quick: bool = False) -> Iterator[Row]:
    """Time a grid of 32 x 32 points with SAM's decoder."""
    from napari_sampath.predict import segment_everything

    points = 2 if quick else 32
    model, image = load("random"), tissue(SIDE_PX)
    settings = filters(model, image, points)
    generator = package(model, settings)
    counts: dict[str, int] = {}

    def theirs() -> None:
        counts["theirs"] = len(generator.generate(image))

    def ours() -> None:
        counts["ours"] = len(segment_everything(image, model, settings))

    medians = alternate({"theirs": theirs, "ours": ours}, 1 if quick else REPEATS)
    if abs(counts["ours"] - counts["theirs"]) > 0.01 * counts["theirs"] + 1:
        raise AssertionError(f"Numbers of masks differ: {counts}.")
    name = f"segment everything, {points} x {points} grid, random weights"
    yield timed(name, medians, None if quick else 3.0, f"{counts['ours']} masks, theirs {counts['theirs']}")


def package(model: Model, settings: EverythingSettings) -> SamAutomaticMaskGenerator:
    """Build a SamAutomaticMaskGenerator with the networks of a model."""
    import torch
    from segment_anything import SamAutomaticMaskGenerator
    from segment_anything.modeling import Sam

    class Embedding(torch.nn.Module):
        """Encoder with the interface of `segment_anything`."""

        img_size = model.input_px

        def __init__(self) -> None:
            super().__init__()
            self.encoder = model.encoder

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.encoder(pixels)["embedding"]

    mean, std = (values.flatten().tolist() for values in (model.encoder.pixel_mean, model.encoder.pixel_std))
    parts = model.decoder
    sam = Sam(Embedding(), parts.prompt_encoder, parts.mask_decoder, mean, std).eval()
    names = inspect.signature(SamAutomaticMaskGenerator).parameters
    options = {name: value for name, value in asdict(settings).items() if name in names}
    return SamAutomaticMaskGenerator(sam, output_mode="uncompressed_rle", **options)


def filters(model: Model, image: np.ndarray, points: int) -> EverythingSettings:
    """Choose thresholds that `SHARES` of the candidates pass, which is typical of trained weights."""
    import numpy as np

    from napari_sampath.predict import EverythingSettings, segment_everything

    no_filters = EverythingSettings(
        points_per_side=min(6, points), pred_iou_thresh=-1e9, stability_score_thresh=0.0, box_nms_thresh=1.0
    )
    masks = segment_everything(image, model, no_filters)
    iou = float(np.quantile([mask.predicted_iou for mask in masks], 1 - SHARES[0]))
    stability = [mask.stability_score for mask in masks if mask.predicted_iou > iou]
    threshold = float(np.nanquantile(stability, 1 - SHARES[1]))
    return EverythingSettings(points_per_side=points, pred_iou_thresh=iou, stability_score_thresh=threshold)
