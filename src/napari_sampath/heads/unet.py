"""U-Net (Ronneberger et al. 2015) trained from scratch on the image, as a baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ..arrays import ClassInfo, FeatureSpec
from ..errors import DatasetError
from .base import Head, registry
from .generator.network import CELL_PX, is_timm_model, resize_image
from .prompt_generator import check_side, generator_side, only_image

_TIMM = "tu-"
"""Prefix of timm models in segmentation-models-pytorch."""


@registry.register("unet")
class UnetHead(Head):
    """U-Net of segmentation-models-pytorch with random weights; reads only the image, so that no encoder runs.

    Args:
        spec: The available maps; the head reads the image.
        classes: The classes to distinguish.
        backbone: Name of an encoder of segmentation-models-pytorch.
        image_px: Side to which the image is resized, a multiple of 32.

    Raises:
        DatasetError: If segmentation-models-pytorch is not installed, or an argument is not allowed.
    """

    kind = "unet"
    summary = "Baseline: a U-Net trained from scratch on the image, without SAM."

    def __init__(
        self, spec: FeatureSpec, classes: Sequence[ClassInfo], backbone: str = "resnet18", image_px: int = 256
    ) -> None:
        super().__init__(only_image(spec), classes)
        self.backbone, self.image_px = backbone, check_side(image_px)
        self.network = _build(backbone, len(self.classes))

    def forward(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Map {"image": (B, 3, S, S)} to logits (B, K, s, s), s = `image_px` for a whole tile."""
        image = self.gather(maps)
        side = generator_side(self.image_px, image.shape[-1] // CELL_PX)
        logits: Tensor = self.network(resize_image(image, (side, side), as_reference=False))
        return logits


def _build(backbone: str, count: int) -> nn.Module:
    try:
        import segmentation_models_pytorch
    except ImportError as error:
        raise DatasetError(
            "The head 'unet' needs segmentation-models-pytorch, which is not installed; "
            'pip install "napari-sampath[baselines]".'
        ) from error
    available = backbone in segmentation_models_pytorch.encoders.get_encoder_names()
    if not available and not (backbone.startswith(_TIMM) and is_timm_model(backbone.removeprefix(_TIMM))):
        raise DatasetError(
            f"segmentation-models-pytorch has no encoder '{backbone}'; try 'resnet18' or 'resnet34'."
        )
    build: Any = segmentation_models_pytorch.Unet
    network: nn.Module = build(encoder_name=backbone, encoder_weights=None, classes=count)
    return network
