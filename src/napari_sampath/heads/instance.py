"""Head that separates touching objects: it predicts the class of each pixel and how deep it lies in its object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..arrays import IMAGE, ClassInfo, FeatureSpec
from ..errors import DatasetError
from .base import Head, registry
from .generator.network import IMAGE_CHANNELS
from .prompt_generator import with_image


@registry.register("instance")
class InstanceHead(Head):
    """Convolutions on the features and on the pixels, with class logits and the depth at a quarter of the input side.

    The features show what an object is, the pixels where it ends. The depth is the distance to the outline in relation
    to its maximum in the object, the regression target of DIST (Naylor et al. 2019, IEEE TMI 38(2)) normalised by
    object; one maximum remains for each object, also where objects touch.

    Args:
        spec: The available maps; the head reads all of them and the image.
        classes: The classes to distinguish.
        width: Channels at a quarter of the input side, a multiple of 2; 32 gives 0.3 M parameters.

    Raises:
        DatasetError: If the width is not allowed.
    """

    kind = "instance"
    summary = "Separates touching objects, such as nuclei; reads features and pixels, quick to train."
    predicts_depth = True

    def __init__(self, spec: FeatureSpec, classes: Sequence[ClassInfo], width: int = 32) -> None:
        super().__init__(with_image(spec), classes)
        if not 2 <= width <= 256 or width % 2:
            raise DatasetError(
                f"The width of an instance head is {width}; give an even number from 2 to 256."
            )
        self.width = width
        narrow, wide = width + width // 2, 2 * width
        self.stem = _block(IMAGE_CHANNELS, width // 2, stride=2)
        self.quarter = nn.Sequential(_block(width // 2, width, stride=2), _block(width, width))
        self.eighth = _block(width, narrow, stride=2)
        self.context = _block(self.spec.channels - IMAGE_CHANNELS, wide, kernel=1)
        self.coarse = nn.Sequential(_block(wide + narrow, wide), _block(wide, wide))
        self.fine = nn.Sequential(_block(wide + width, narrow), _block(narrow, narrow))
        self.out = nn.Conv2d(narrow, len(self.classes) + 1, kernel_size=1)

    def forward(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Map {map name: (B, C, h, w), "image": (B, 3, 16h, 16w)} to logits (B, K, 4h, 4w)."""
        return self.forward_with_depth(maps)[0]

    def forward_with_depth(self, maps: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the logits (B, K, 4h, 4w) and the depth (B, 1, 4h, 4w), 0..1."""
        values = {feature.name: self.read(maps, feature) for feature in self.spec.maps}
        # Compute maps of the pixels at strides 4 and 8.
        quarter = self.quarter(self.stem(values.pop(IMAGE)))
        eighth = self.eighth(quarter)
        # Add them to the features, from coarse to fine.
        context = self.context(torch.cat(list(values.values()), dim=1))
        coarse = self.coarse(torch.cat([_doubled(context), eighth], dim=1))
        fine = self.fine(torch.cat([_doubled(coarse), quarter], dim=1))
        outputs = self.out(fine)
        return outputs[:, :-1], outputs[:, -1:].sigmoid()


def _block(channels: int, out: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out), nn.ReLU(inplace=True))


def _doubled(values: Tensor) -> Tensor:
    return functional.interpolate(values, scale_factor=2.0, mode="bilinear", align_corners=False)
