"""SAM's weights format: names of tensors, and sizes of the network deduced from their shapes."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ...errors import WeightsError
from ...geometry import INPUT_PX

logger = logging.getLogger(__name__)

_PARTS = ("image_encoder.", "prompt_encoder.", "mask_decoder.")
_PATCHES = "image_encoder.patch_embed.proj.weight"
_NAMED = 3
"""Maximum number of keys listed in a message."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """Sizes of an image encoder; prompt encoder and mask decoder always have SAM's sizes."""

    embed_dim: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]
    """Blocks with attention over the whole image; the others attend within windows."""
    window: int = 14
    """Side of a window, in patches."""
    mlp_dim: int = 0
    """Hidden width of the MLP in a block; 0 means four times `embed_dim`."""
    patch_px: int = 16
    input_px: int = INPUT_PX

    @property
    def grid(self) -> int:
        """Side of the feature maps, in patches."""
        return self.input_px // self.patch_px


def sam_keys(state: Mapping[str, Tensor], source: str, landmark: str = _PATCHES) -> dict[str, Tensor]:
    """Select SAM's tensors in a state_dict and remove the prefix of their names ("module.", "sam.").

    Args:
        state: Tensors by name.
        source: Name of the file for error messages.
        landmark: Name of the tensor that identifies the format and shows the prefix.

    Returns:
        Tensors under SAM's names; those of floating-point type are float32.

    Raises:
        WeightsError: If the file has no SAM image encoder.
    """
    prefix = next((key.removesuffix(landmark) for key in state if key.endswith(landmark)), None)
    if prefix is None:
        raise WeightsError(
            f"'{source}' is not a SAM weights file: it has {_some(list(state))} but no '{landmark}'; "
            "use a file in SAM's format."
        )
    tensors, others = {}, []
    for key, value in state.items():
        name = key.removeprefix(prefix)
        if key.startswith(prefix) and name.startswith(_PARTS):
            tensors[name] = value.float() if value.is_floating_point() else value
        elif name not in ("pixel_mean", "pixel_std"):
            others.append(key)
    if others:
        logger.info("'%s' has tensors that are not part of SAM and are ignored: %s", source, _some(others))
    return tensors


def deduce(state: Mapping[str, Tensor], source: str) -> Architecture:
    """Deduce the sizes of the image encoder from the shapes of its tensors.

    Raises:
        WeightsError: If a required tensor is missing or of an unexpected shape.
    """

    def shape(key: str, dims: int) -> tuple[int, ...]:
        tensor = state.get(f"image_encoder.{key}")
        if tensor is None:
            raise WeightsError(f"'{source}' has no 'image_encoder.{key}'; use a file in SAM's format.")
        if tensor.ndim != dims:
            raise WeightsError(
                f"'{source}' has 'image_encoder.{key}' of shape {tuple(tensor.shape)}, which should have {dims} "
                "dimensions; use a file in SAM's format."
            )
        return tuple(tensor.shape)

    embed_dim, _, patch_px, _ = shape("patch_embed.proj.weight", 4)
    grid = shape("pos_embed", 4)[1]
    numbers = [re.match(r"image_encoder\.blocks\.(\d+)\.", key) for key in state]
    depth = 1 + max((int(number[1]) for number in numbers if number), default=-1)
    tables = [shape(f"blocks.{index}.attn.rel_pos_h", 2) for index in range(depth)]
    if not tables or embed_dim % tables[0][1]:
        raise WeightsError(f"'{source}' has no blocks of SAM's image encoder; use a file in SAM's format.")
    sides = [(length + 1) // 2 for length, _ in tables]
    mlp_dim = shape("blocks.0.mlp.lin1.weight", 2)[0]
    return Architecture(
        embed_dim=embed_dim,
        depth=depth,
        heads=embed_dim // tables[0][1],
        global_blocks=tuple(index for index, side in enumerate(sides) if side == grid),
        window=min(sides),
        mlp_dim=0 if mlp_dim == 4 * embed_dim else mlp_dim,
        patch_px=patch_px,
        input_px=grid * patch_px,
    )


def check_tensors(
    expected: Mapping[str, Tensor], state: Mapping[str, Tensor], source: str, model: str = "SAM"
) -> None:
    """Compare names and shapes of tensors with those of the network.

    Args:
        expected: The tensors of the network by name.
        state: The tensors of the file by name.
        source: Name of the file for error messages.
        model: Name of the network for error messages.

    Raises:
        WeightsError: If tensors are missing, unexpected or of a different shape; the message lists the first few.
    """
    missing = [key for key in expected if key not in state]
    surplus = [key for key in state if key not in expected]
    reshaped = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(expected[key].shape)}"
        for key in expected
        if key in state and state[key].shape != expected[key].shape
    ]
    faults = [
        f"{len(keys)} tensors {fault} ({_some(keys)})"
        for keys, fault in ((missing, "missing"), (surplus, "unexpected"), (reshaped, "of a different shape"))
        if keys
    ]
    if faults:
        raise WeightsError(
            f"'{source}' does not match {model}: {', '.join(faults)}; use a file in {model}'s format."
        )


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:_NAMED]) + (" ..." if len(keys) > _NAMED else "") if keys else "nothing"
