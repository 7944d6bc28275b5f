"""AutoSAM's CNN head (Hu et al. 2023, xhu248/AutoSAM): convolutions and transposed convolutions on the features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn

from ..arrays import ClassInfo, FeatureSpec
from ..errors import DatasetError, WeightsError
from .base import Head, load_weights, registry
from .published import AUTOSAM_WRAPPERS, embedding_spec, reference_classes, rename_tensors, require_tensors

DEPTHS = (2, 3, 4, 5)


@registry.register("cnn")
class CNNHead(Head):
    """Two 1 x 1 convolutions, `depth` stages that each halve the channels, and two convolutions to class logits.

    With more than two stages, the first two do not upscale: the logits of a tile have 256, 128, 256 and 512 px
    per side for depth 2, 3, 4 and 5.

    Args:
        spec: The feature maps to read.
        classes: The classes to distinguish.
        depth: Number of stages, 2 to 5; 4 in the published head.
        top_channel: Channels after the last stage; the first stage has `top_channel * 2**depth`. The published head
            has 64 and depth 4, which gives 20.7 M parameters; the defaults here give 0.5 M.
        norm: Apply SAM's LayerNorm2d after each 3 x 3 convolution; the published head does not.

    Raises:
        DatasetError: If depth or top_channel is not allowed.
    """

    kind = "cnn"
    summary = "AutoSAM's CNN head (Hu et al. 2023): small, quick to train, sharp outlines."

    def __init__(
        self,
        spec: FeatureSpec,
        classes: Sequence[ClassInfo],
        depth: int = 2,
        top_channel: int = 32,
        norm: bool = False,
    ) -> None:
        super().__init__(spec, classes)
        if depth not in DEPTHS:
            raise DatasetError(f"The depth of a cnn head is {depth}; give 2, 3, 4 or 5.")
        if not 1 <= top_channel <= 256:
            raise DatasetError(f"The top_channel of a cnn head is {top_channel}; give 1 to 256.")
        self.depth, self.top_channel, self.norm = depth, top_channel, norm
        channels = top_channel * 2**depth
        self.input_block = nn.Sequential(
            nn.Conv2d(spec.channels, channels, kernel_size=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, kernel_size=1),
            nn.ReLU(),
        )
        stages = []
        for stage in range(depth):
            stages.append(self._stage(channels, upscale=depth == 2 or stage >= 2))
            channels //= 2
        self.blocks = nn.ModuleList(stages)
        self.final = nn.Sequential(
            nn.Conv2d(channels, channels, kernel_size=3, padding=1),
            nn.Conv2d(channels, len(self.classes), kernel_size=1),
        )
        self.apply(_initialise)

    def _stage(self, channels: int, upscale: bool) -> nn.Sequential:
        layers: list[nn.Module] = []
        for out in (channels, channels if upscale else channels // 2):
            layers.append(nn.Conv2d(channels, out, kernel_size=3, padding=1))
            if self.norm:
                layers.append(LayerNorm2d(out))
            layers.append(nn.ReLU())
        if upscale:
            layers.append(nn.ConvTranspose2d(channels, channels // 2, kernel_size=2, stride=2))
        return nn.Sequential(*layers)

    def forward(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Map {map name: (B, C, h, w)} to logits (B, K, h', w'); h' is 4h at depths 2 and 4, 2h at 3 and 8h at 5."""
        values = self.input_block(self.gather(maps))
        for stage in self.blocks:
            values = stage(values)
        logits: Tensor = self.final(values)
        return logits

    @classmethod
    def import_reference(
        cls,
        state: Mapping[str, Tensor],
        classes: Sequence[ClassInfo] | None = None,
        encoder: str = "vit_b",
        input_norm: str = "minmax01",
    ) -> Self:
        """Build the head from `SegDecoderCNN` weights; depth and width follow from the shapes.

        Args:
            state: See `Head`.
            classes: See `Head`.
            encoder: See `Head`.
            input_norm: "minmax01" for weights trained on pixels scaled to 0..1, as in the published code; "sam" for
                weights trained on pixels normalised as in SAM.
        """
        parts = {name: name for name in ("input_block.", "blocks.", "final.")}
        tensors = rename_tensors(state, parts, AUTOSAM_WRAPPERS)
        first, last, final = require_tensors(
            tensors,
            ("input_block.0.weight", "final.1.weight", "final.0.weight"),
            "AutoSAM's CNN head",
            "give its state_dict, alone or inside the state_dict of the whole model",
        )
        depth = len({key.split(".")[1] for key in tensors if key.startswith("blocks.")})
        if depth not in DEPTHS:
            raise WeightsError(
                f"The weights belong to a CNN head with {depth} stages; AutoSAM's has 2, 3, 4 or 5."
            )
        spec = embedding_spec(first.shape[1], encoder, input_norm)
        head = cls(spec, reference_classes(last.shape[0], classes), depth=depth, top_channel=final.shape[0])
        load_weights(head, tensors, "The weights")
        return head


def _initialise(module: nn.Module) -> None:
    """Apply He initialisation; with PyTorch's default, the signal fades in twenty layers without normalisation."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    elif isinstance(module, nn.ConvTranspose2d):
        # Kernel and stride are equal, so each output pixel reads every input channel once.
        nn.init.normal_(module.weight, std=module.in_channels**-0.5)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)
