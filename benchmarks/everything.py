"""Segment everything against SamAutomaticMaskGenerator: same weights, image and settings, on the CPU.

The wall clock of whole calls, encoder included.
"""

from __future__ import annotations

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
"""Of candidates: those with a predicted IoU that passes, and of these those that are stable enough."""
SIDE_PX = 1024


def rows(quick: bool = False) -> Iterator[Row]:
    """A grid of 32 x 32 points with SAM's decoder."""
    from napari_sampath.predict import segment_everything

    points = 2 if quick else 32
    model, image = load("random"), tissue(SIDE_PX)
    settings = filters(model, image, points)
    generator = package(model, settings)
    found: dict[str, int] = {}

    def theirs() -> None:
        found["theirs"] = len(generator.generate(image))

    def ours() -> None:
        found["ours"] = len(segment_everything(image, model, settings))

    medians = alternate({"theirs": theirs, "ours": ours}, 1 if quick else REPEATS)
    if abs(found["ours"] - found["theirs"]) > 0.01 * found["theirs"] + 1:
        raise AssertionError(f"Masks found: {found}.")
    name = f"segment everything, {points} x {points} grid, random weights"
    yield timed(name, medians, None if quick else 3.0, f"{found['ours']} masks, theirs {found['theirs']}")


def package(model: Model, settings: EverythingSettings) -> SamAutomaticMaskGenerator:
    """Build the package's generator around the same networks."""
    import torch
    from segment_anything import SamAutomaticMaskGenerator
    from segment_anything.modeling import Sam

    class Embedding(torch.nn.Module):
        """The encoder with the interface of the package's."""

        img_size = model.input_px

        def __init__(self) -> None:
            super().__init__()
            self.encoder = model.encoder

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.encoder(pixels)["embedding"]

    mean, std = (values.flatten().tolist() for values in (model.encoder.pixel_mean, model.encoder.pixel_std))
    parts = model.decoder
    sam = Sam(Embedding(), parts.prompt_encoder, parts.mask_decoder, mean, std).eval()
    options = asdict(settings)
    del options["drop_over_half_image"]
    return SamAutomaticMaskGenerator(sam, output_mode="uncompressed_rle", **options)


def filters(model: Model, image: np.ndarray, points: int) -> EverythingSettings:
    """Choose thresholds by which `SHARES` of the candidates pass, whatever the weights: a share of SAM's order."""
    import numpy as np

    from napari_sampath.predict import EverythingSettings, segment_everything

    every = EverythingSettings(
        points_per_side=min(6, points), pred_iou_thresh=-1e9, stability_score_thresh=0.0, box_nms_thresh=1.0
    )
    found = segment_everything(image, model, every)
    iou = float(np.quantile([one.predicted_iou for one in found], 1 - SHARES[0]))
    stable = [one.stability_score for one in found if one.predicted_iou > iou]
    least = float(np.nanquantile(stable, 1 - SHARES[1]))
    return EverythingSettings(points_per_side=points, pred_iou_thresh=iou, stability_score_thresh=least)
