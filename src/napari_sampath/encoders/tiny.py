"""`sampath-tiny`: a small promptable model with SAM's interface, trained on tissue and shipped in the package.

A ConvNeXt (Liu et al. 2022, through timm) reads the 1,024 px square; its four stages are brought to the
64 x 64 grid and end in SAM's neck. Prompt encoder and mask decoder are SAM's own, with one addition: the
prompts are also drawn as maps, because a small network learns "inside this box" far sooner from a picture
of the box than from two corner tokens.
"""

from __future__ import annotations

from pathlib import Path

import timm
import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional

from ..arrays import GRID, INPUT_PX, LOGITS_PX, FeatureMap, FeatureSpec
from ..errors import WeightsError
from .base import Encoder, EncoderEntry, EncoderInfo, EncoderParts, registry
from .weights import digest, load_state_dict

CHANNELS = 256
BACKBONE = "convnext_femto_ols"
WEIGHTS = Path(__file__).parent / "shipped" / "sampath-tiny.safetensors"

INFO = EncoderInfo(
    name="sampath-tiny",
    summary="Small model trained on H&E nuclei and glands; ships with the package, quick on a CPU.",
    licence="Apache-2.0 (trained on CC BY 4.0, CC0 and BSD-3-Clause images, see the model card)",
    source_url="https://doi.org/10.6084/m9.figshare.21540159",
    promptable=True,
    size_mb=19.0,
)


class TinyEncoder(Encoder):
    """ConvNeXt stages fused on the 64 x 64 grid; yields `embedding` (256, 64, 64).

    Args:
        weights_digest: See `Encoder`.
        backbone: Any timm model with stages at strides 4, 8, 16 and 32.
    """

    def __init__(self, weights_digest: str = "untrained", backbone: str = BACKBONE) -> None:
        super().__init__(INFO, FeatureSpec((FeatureMap("embedding", CHANNELS, INFO.name),)), weights_digest)
        self.backbone = timm.create_model(
            backbone, pretrained=False, features_only=True, out_indices=(0, 1, 2, 3)
        )
        quarter, eighth, sixteenth, thirtysecond = self.backbone.feature_info.channels()
        self.from_stride4 = nn.Conv2d(quarter, CHANNELS, kernel_size=4, stride=4)
        self.from_stride8 = nn.Conv2d(eighth, CHANNELS, kernel_size=2, stride=2)
        self.from_stride16 = nn.Conv2d(sixteenth, CHANNELS, kernel_size=1)
        self.from_stride32 = nn.Conv2d(thirtysecond, CHANNELS, kernel_size=1)
        self.neck = nn.Sequential(
            LayerNorm2d(CHANNELS),
            nn.GELU(),
            nn.Conv2d(CHANNELS, CHANNELS, kernel_size=3, padding=1, bias=False),
            LayerNorm2d(CHANNELS),
        )

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Map (B, 3, S, S), S a multiple of 32, to {"embedding": (B, 256, S / 16, S / 16)}."""
        quarter, eighth, sixteenth, thirtysecond = self.backbone(pixels)
        coarse = functional.interpolate(
            self.from_stride32(thirtysecond), scale_factor=2.0, mode="bilinear", align_corners=False
        )
        fused = (
            self.from_stride4(quarter) + self.from_stride8(eighth) + self.from_stride16(sixteenth) + coarse
        )
        return {"embedding": self.neck(fused)}


class MapPromptEncoder(PromptEncoder):
    """SAM's prompt encoder that also draws points and box on the grid of the logits.

    Six maps (box coverage, a bump that fills the box, near and far discs around positive and around
    negative points) go through a small convolutional stack and are added to SAM's dense embedding.
    """

    disc_px = (8.0, 32.0)
    """Standard deviations of the discs around a click, in pixels of the 1,024 px square."""

    def __init__(self) -> None:
        super().__init__(
            embed_dim=CHANNELS,
            image_embedding_size=(GRID, GRID),
            input_image_size=(INPUT_PX, INPUT_PX),
            mask_in_chans=16,
        )
        self.map_downscaling = nn.Sequential(
            nn.Conv2d(6, 32, kernel_size=2, stride=2),
            LayerNorm2d(32),
            nn.GELU(),
            nn.Conv2d(32, 64, kernel_size=2, stride=2),
            LayerNorm2d(64),
            nn.GELU(),
            nn.Conv2d(64, CHANNELS, kernel_size=1),
        )

    def forward(
        self,
        points: tuple[Tensor, Tensor] | None,
        boxes: Tensor | None,
        masks: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """Embed prompts as SAM does (same arguments, same shapes) and add their maps to the dense embedding."""
        sparse, dense = super().forward(points, boxes, masks)
        if points is None and boxes is None:
            return sparse, dense
        return sparse, dense + self.map_downscaling(self.draw(points, boxes))

    def draw(self, points: tuple[Tensor, Tensor] | None, boxes: Tensor | None) -> Tensor:
        """Draw prompts given in pixels of the 1,024 px square, (x, y), as maps (B, 6, 256, 256)."""
        cell_px = INPUT_PX / LOGITS_PX
        count = self._get_batch_size(points, boxes, None)
        edges = torch.arange(LOGITS_PX, device=self._get_device(), dtype=torch.float32) * cell_px
        maps = torch.zeros(count, 6, LOGITS_PX, LOGITS_PX, device=edges.device)
        if boxes is not None:
            maps[:, :2] = _draw_boxes(boxes.reshape(-1, 4), edges, cell_px)
        if points is not None:
            xy, labels = points
            squared = (edges + cell_px / 2 - xy[..., None] - 0.5) ** 2  # (B, N, 2, 256)
            for index, (label, sigma) in enumerate((label, s) for label in (1, 0) for s in self.disc_px):
                falloff = torch.exp(-squared / (2 * sigma**2))
                discs = falloff[:, :, 1, :, None] * falloff[:, :, 0, None, :]
                maps[:, 2 + index] = (discs * (labels == label)[..., None, None]).amax(dim=1)
        return maps


def _draw_boxes(boxes: Tensor, edges: Tensor, cell_px: float) -> Tensor:
    """Draw (B, 4) XYXY boxes: share of each cell covered, and a bump falling off towards the box's edges."""
    profiles = []
    for low, high in ((boxes[:, 1:2], boxes[:, 3:4]), (boxes[:, 0:1], boxes[:, 2:3])):
        covered = (torch.minimum(high, edges + cell_px) - torch.maximum(low, edges)).clamp(min=0) / cell_px
        half = ((high - low) / 2).clamp(min=1.0)
        bump = torch.exp(-(((edges + cell_px / 2 - (low + high) / 2) / half) ** 2))
        profiles.append((covered, bump))
    (rows, row_bump), (cols, col_bump) = profiles
    coverage = rows[:, :, None] * cols[:, None, :]
    return torch.stack([coverage, row_bump[:, :, None] * col_bump[:, None, :]], dim=1)


def build_untrained() -> EncoderParts:
    """Build the three parts with random weights, for training."""
    decoder = MaskDecoder(
        transformer_dim=CHANNELS,
        transformer=TwoWayTransformer(depth=2, embedding_dim=CHANNELS, mlp_dim=2048, num_heads=8),
        num_multimask_outputs=3,
        iou_head_depth=3,
        iou_head_hidden_dim=256,
    )
    return EncoderParts(TinyEncoder(), MapPromptEncoder(), decoder)


def state_dict(parts: EncoderParts) -> dict[str, Tensor]:
    """Collect the weights of all parts under SAM's prefixes."""
    modules = {
        "image_encoder": parts.encoder,
        "prompt_encoder": parts.prompt_encoder,
        "mask_decoder": parts.mask_decoder,
    }
    return {
        f"{prefix}.{key}": value
        for prefix, module in modules.items()
        if module is not None
        for key, value in module.state_dict().items()
    }


def load_parts(parts: EncoderParts, state: dict[str, Tensor], source: str) -> EncoderParts:
    """Put weights made by `state_dict` into freshly built parts and freeze them.

    Raises:
        WeightsError: If keys or shapes are of another model.
    """
    modules = {
        "image_encoder": parts.encoder,
        "prompt_encoder": parts.prompt_encoder,
        "mask_decoder": parts.mask_decoder,
    }
    for prefix, module in modules.items():
        if module is None:
            continue
        own = {
            key.removeprefix(f"{prefix}."): v.float()
            for key, v in state.items()
            if key.startswith(f"{prefix}.")
        }
        try:
            module.load_state_dict(own)
        except RuntimeError as error:
            first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
            raise WeightsError(
                f"The weights in {source} are not those of sampath-tiny ({first}); give a file made by "
                "'sampath tune', or choose the model the file belongs to."
            ) from None
        module.eval().requires_grad_(False)
    parts.encoder.weights_digest = digest(state)
    return parts


def build(path: Path | None = None) -> EncoderParts:
    """Build `sampath-tiny` with the shipped weights, or those of a file made by `sampath tune`."""
    source = WEIGHTS if path is None else path
    return load_parts(build_untrained(), load_state_dict(source), str(source))


registry.register(INFO.name)(EncoderEntry(INFO, build))
