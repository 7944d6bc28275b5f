"""Import of published heads: rename tensors, and describe classes and encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from ..arrays import ClassInfo, FeatureMap, FeatureSpec
from ..errors import WeightsError
from ..registry import lookup

INPUT_NORMS = {"sam": "", "minmax01": "minmax01:", "double": "double-norm:"}
"""Pixel normalisation -> prefix of the encoder that applies it."""

AUTOSAM_WRAPPERS = ("module.", "mask_decoder.")
"""Prefixes of tensor names in AutoSAM checkpoints (Hu et al.), with the head alone or the whole model."""


def rename_tensors(
    state: Mapping[str, Tensor], renames: Mapping[str, str], wrappers: Sequence[str] = ()
) -> dict[str, Tensor]:
    """Select the tensors of a head in a published state_dict and rename them to ours.

    Args:
        state: Tensors of the head alone or of a whole model.
        renames: Published prefix -> our prefix; the first match is used, and tensors without a match are skipped.
        wrappers: Prefixes added by the training code, which are removed first, in this order.
    """
    renamed = {}
    for name, tensor in state.items():
        for wrapper in wrappers:
            name = name.removeprefix(wrapper)
        for published, own in renames.items():
            if name.startswith(published):
                renamed[own + name.removeprefix(published)] = tensor
                break
    return renamed


def require_tensors(
    state: Mapping[str, Tensor], names: Sequence[str], head: str, advice: str
) -> list[Tensor]:
    """Return the named tensors, which identify a published head.

    Args:
        state: Tensors by name.
        names: The names to look up.
        head: Name of the head for the error message, such as "AutoSAM's CNN head".
        advice: Advice on which file to give, for the error message.

    Raises:
        WeightsError: If a tensor is missing.
    """
    for name in names:
        if name not in state:
            raise WeightsError(f"The weights do not belong to {head}: '{name}' is missing; {advice}.")
    return [state[name] for name in names]


def reference_classes(count: int, classes: Sequence[ClassInfo] | None) -> tuple[ClassInfo, ...]:
    """Return `classes`, or the background and numbered classes if None, for an imported head with `count` channels."""
    if classes is None:
        greys = [index * 255 // max(1, count - 1) for index in range(count)]
        return tuple(
            ClassInfo(index, f"class {index}" if index else "background", (grey, grey, grey))
            for index, grey in enumerate(greys)
        )
    if len(classes) != count:
        raise WeightsError(
            f"{len(classes)} classes are given, but the weights are for {count}; give {count}."
        )
    return tuple(classes)


def embedding_spec(channels: int, encoder: str, input_norm: str = "sam") -> FeatureSpec:
    """Describe the features that most published heads read: only SAM's embedding.

    Args:
        channels: Channels of the embedding.
        encoder: Name of the encoder.
        input_norm: One of `INPUT_NORMS`.

    Raises:
        UnknownNameError: If there is no such normalisation.
    """
    prefix = lookup("input_norm", INPUT_NORMS, input_norm)
    return FeatureSpec((FeatureMap("embedding", channels, f"{prefix}{encoder}"),))
