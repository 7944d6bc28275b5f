"""A baseline: a U-Net (Ronneberger et al. 2015) trained from scratch on the picture alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from torch import Tensor, nn

from ..arrays import ClassInfo, FeatureSpec
from ..errors import DatasetError, WeightsError
from .base import Argument, Head, registry
from .generator import in_timm, resize_image
from .prompt_generator import check_side, generator_side, only_image

_CELL_PX = 16
_TIMM = "tu-"
"""In front of timm's names."""


@registry.register("unet")
class UnetHead(Head):
    """segmentation-models-pytorch's U-Net with random weights; reads the picture alone, so no encoder runs for it.

    Args:
        spec: The maps there are; it reads the image.
        classes: What it tells apart.
        backbone: Name of an encoder of segmentation-models-pytorch.
        image_px: Side to which the image is resized, a multiple of 32.

    Raises:
        DatasetError: If segmentation-models-pytorch is not installed, or an argument is not allowed.
    """

    kind = "unet"
    summary = "Baseline: a U-Net from scratch on the picture, without SAM."

    def __init__(
        self, spec: FeatureSpec, classes: Sequence[ClassInfo], backbone: str = "resnet18", image_px: int = 256
    ) -> None:
        super().__init__(only_image(spec), classes)
        self.backbone, self.image_px = backbone, check_side(image_px)
        self.network = _build(backbone, len(self.classes))

    @property
    def arguments(self) -> dict[str, Argument]:
        """What builds the same head again."""
        return {"backbone": self.backbone, "image_px": self.image_px}

    def forward(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Map {"image": (B, 3, S, S)} to logits (B, K, s, s), s = `image_px` for a whole tile."""
        image = self.gather(maps)
        side = generator_side(self.image_px, image.shape[-1] // _CELL_PX)
        logits: Tensor = self.network(resize_image(image, (side, side), as_reference=False))
        return logits

    @classmethod
    def import_reference(
        cls, state: Mapping[str, Tensor], classes: Sequence[ClassInfo] | None = None, encoder: str = "vit_b"
    ) -> Self:
        """Refuse: there is no published checkpoint of this baseline."""
        raise WeightsError(
            "A U-Net baseline has no published weights to import; train one with the head 'unet'."
        )


def _build(backbone: str, count: int) -> nn.Module:
    try:
        import segmentation_models_pytorch
    except ImportError as error:
        raise DatasetError(
            "The head 'unet' needs segmentation-models-pytorch, which is not installed; "
            "pip install 'napari-sampath[baselines]'."
        ) from error
    known = backbone in segmentation_models_pytorch.encoders.get_encoder_names()
    if not known and not (backbone.startswith(_TIMM) and in_timm(backbone.removeprefix(_TIMM))):
        raise DatasetError(
            f"segmentation-models-pytorch has no encoder '{backbone}'; try 'resnet18' or 'resnet34'."
        )
    build: Any = segmentation_models_pytorch.Unet
    network: nn.Module = build(encoder_name=backbone, encoder_weights=None, classes=count)
    return network
