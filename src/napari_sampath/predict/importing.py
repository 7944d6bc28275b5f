"""Conversion of checkpoints of the reference implementations to bundles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import load_config
from ..encoders.weights.weights import load_state_dict
from ..errors import WeightsError
from ..heads import EncoderRef, Metadata, registry, save_bundle
from ..heads.published import INPUT_NORMS
from .loading import load_model
from .model import Model

if TYPE_CHECKING:
    from torch import Tensor

    from ..arrays import ClassInfo


def import_head(
    checkpoint: str | Path | Sequence[str | Path],
    kind: str,
    output: str | Path,
    encoder: str | Model = "vit_b",
    classes: Sequence[ClassInfo] | None = None,
    licence: str = "that of the imported checkpoint",
    **options: Any,
) -> Path:
    """Convert a head trained with a reference implementation to a bundle, without executing code from its file.

    Args:
        checkpoint: The file, or several files with parts of the weights.
        kind: "sampath", "autosam", "cnn", "linear", "prompt_generator" or "surrogate".
        output: The bundle to write, ending in `.safetensors`.
        encoder: The encoder that the head was trained on, by name or loaded, such as "vit_b". SAM-Path needs a pair,
            such as "vit_b+hipt-s16", or "aliased:vit_b+hipt-s16" if it was trained on tiles of a size other than
            1,024 px, as for CRAG. A prompt generator reads "double-norm:vit_h" and the like, unless
            `compat_double_norm=False` is given; "autosam", "cnn" and "linear" read "minmax01:vit_b" and the like,
            unless `input_norm="sam"` is given.
        classes: One class for each channel; classes with numbered names if left out.
        licence: Licence of the weights.
        **options: Options of `import_reference` of the head.

    Returns:
        The path of the bundle.

    Raises:
        UnknownNameError: If there is no such kind of head or encoder.
        WeightsError: If the file contains weights of another network, or would execute code.
        WeightsMissingError: If the encoder's weights can neither be found nor downloaded.
        StorageError: If the bundle cannot be written.
    """
    files = [checkpoint] if isinstance(checkpoint, str | Path) else list(checkpoint)
    state: dict[str, Tensor] = {}
    for file in files:
        state |= load_state_dict(file)
    name = encoder if isinstance(encoder, str) else encoder.name
    build: Any = registry[kind].import_reference
    head = build(state, classes, _without_input_norm(name), **options)
    sources = {feature_map.encoder for feature_map in head.spec.maps}
    required = name if "+" in name else sources.pop()
    if isinstance(encoder, str):
        encoder = load_model(required, device=load_config().device)
    elif encoder.name != required:
        option = "compat_double_norm=False" if kind == "prompt_generator" else 'input_norm="sam"'
        raise WeightsError(
            f"The head reads features of '{required}', and the given model is '{encoder.name}'; load '{required}', or "
            f"pass {option} if the pixels were normalised as in SAM."
        )
    has_decoder = any(key.startswith("mask_decoder.") for key in state)
    if kind == "prompt_generator" and not has_decoder and encoder.decoder is not None:
        head.init_from_sam(encoder.decoder.state_dict())
    network = encoder.encoder
    reference = EncoderRef(encoder.name, network.weights_digest, network.preprocessing_version)
    origin = {"imported_from": [Path(file).name for file in files]}
    metadata = Metadata(Path(output).stem, (reference,), data=origin, licence=licence)
    return save_bundle(output, head, metadata)


def _without_input_norm(name: str) -> str:
    """Return the name of an encoder without the prefix of its pixel normalisation."""
    for prefix in INPUT_NORMS.values():
        name = name.removeprefix(prefix)
    return name
