"""Import of heads that their authors published: tensors renamed, classes and encoder described."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from ..arrays import ClassInfo, FeatureMap, FeatureSpec
from ..errors import WeightsError
from ..registry import lookup

INPUT_NORMS = {"sam": "", "minmax01": "minmax01:", "double": "double-norm:"}
"""Pixel normalisation before the encoder -> prefix of the name of the encoder that does it."""

AUTOSAM_WRAPPERS = ("module.", "mask_decoder.")
"""Prefixes in checkpoints of AutoSAM (Hu et al.), of the head alone or of the whole model."""


def rename_tensors(
    state: Mapping[str, Tensor], renames: Mapping[str, str], wrappers: Sequence[str] = ()
) -> dict[str, Tensor]:
    """Select the tensors of a head from a published state_dict, under the names of our head.

    Args:
        state: Tensors of the head alone or of a whole model.
        renames: Published prefix -> our prefix; the first that matches counts, other tensors are left out.
        wrappers: Prefixes that the training program puts in front of names, removed first and in this order.
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
        head: What the tensors belong to, for the message: "AutoSAM's CNN head".
        advice: What file to give instead, for the message.

    Raises:
        WeightsError: If one is missing.
    """
    for name in names:
        if name not in state:
            raise WeightsError(f"The weights are not those of {head}: '{name}' is missing; {advice}.")
    return [state[name] for name in names]


def reference_classes(count: int, classes: Sequence[ClassInfo] | None) -> tuple[ClassInfo, ...]:
    """Return the classes of an imported head with `count` channels; background and numbered ones if none are given."""
    if classes is None:
        greys = [index * 255 // max(1, count - 1) for index in range(count)]
        return tuple(
            ClassInfo(index, f"class {index}" if index else "background", (grey, grey, grey))
            for index, grey in enumerate(greys)
        )
    if len(classes) != count:
        raise WeightsError(f"The weights are of {count} classes, {len(classes)} are given; give {count}.")
    return tuple(classes)


def embedding_spec(channels: int, encoder: str, input_norm: str = "sam") -> FeatureSpec:
    """Describe the features that published heads read: SAM's embedding alone.

    Args:
        channels: Channels of the embedding.
        encoder: Name of the encoder.
        input_norm: One of `INPUT_NORMS`.

    Raises:
        UnknownNameError: If there is no such normalisation.
    """
    prefix = lookup("input_norm", INPUT_NORMS, input_norm)
    return FeatureSpec((FeatureMap("embedding", channels, f"{prefix}{encoder}"),))
