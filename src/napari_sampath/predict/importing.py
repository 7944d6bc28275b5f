"""Conversion of checkpoints of the reference implementations to bundles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
        encoder: The encoder of the training, by name or loaded: "vit_b", or a pair as "vit_b+hipt-s16" for SAM-Path, or
            "aliased:vit_b+hipt-s16" if it was trained on tiles of other than 1,024 px, as for CRAG. A prompt
            generator reads "double-norm:vit_h" and the like, unless `compat_double_norm=False` is given; "autosam",
            "cnn" and "linear" read "minmax01:vit_b" and the like, unless `input_norm="sam"` is given.
        classes: One class for each channel; numbered names if left out.
        licence: Licence of the weights.
        **options: Options of `import_reference` of the head.

    Returns:
        The path of the bundle.

    Raises:
        UnknownNameError: If there is no such kind of head or encoder.
        WeightsError: If the file has the weights of another network, or would execute code.
        WeightsMissingError: If the encoder's weights can neither be found nor downloaded.
        StorageError: If the bundle cannot be written.
    """
    files = [checkpoint] if isinstance(checkpoint, str | Path) else list(checkpoint)
    state: dict[str, Tensor] = {}
    for file in files:
        state |= load_state_dict(file)
    name = encoder if isinstance(encoder, str) else encoder.name
    build: Any = registry[kind].import_reference
    head = build(state, classes, _published(name), **options)
    sources = {feature_map.encoder for feature_map in head.spec.maps}
    wanted = name if "+" in name else sources.pop()
    if isinstance(encoder, str):
        encoder = load_model(wanted, device=load_config().device)
    elif encoder.name != wanted:
        option = "compat_double_norm=False" if kind == "prompt_generator" else 'input_norm="sam"'
        raise WeightsError(
            f"The head reads features of '{wanted}', and the given model is '{encoder.name}'; load '{wanted}', or pass "
            f"{option} if the pixels were normalised as in SAM."
        )
    if kind == "prompt_generator" and not _holds_decoder(state) and encoder.decoder is not None:
        head.init_from_sam(encoder.decoder.state_dict())
    inner = encoder.encoder
    reference = EncoderRef(encoder.name, inner.weights_digest, inner.preprocessing_version)
    names = [Path(file).name for file in files]
    metadata = Metadata(Path(output).stem, (reference,), data={"imported_from": names}, licence=licence)
    return save_bundle(output, head, metadata)


def _published(name: str) -> str:
    """Return the name of an encoder without the prefix of its pixel normalisation."""
    for prefix in INPUT_NORMS.values():
        name = name.removeprefix(prefix)
    return name


def _holds_decoder(state: Mapping[str, Tensor]) -> bool:
    return any(key.startswith("mask_decoder.") for key in state)
