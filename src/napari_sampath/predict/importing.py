"""Checkpoints of the reference implementations, made into bundles."""

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
    """Make a bundle of a head that a reference implementation trained; nothing in its file is run.

    Args:
        checkpoint: The file, or several whose tensors belong together (g and its surrogate decoder).
        kind: "sampath", "autosam", "cnn", "linear", "prompt_generator" or "surrogate".
        output: The bundle to write, ending in `.safetensors`.
        encoder: What it was trained on, by name or loaded: "vit_b", or a pair as "vit_b+hipt-s16" for SAM-Path, or
            "aliased:vit_b+hipt-s16" if it was trained on tiles of other than 1,024 px, as for CRAG. A prompt
            generator reads "double-norm:vit_h" and the like, unless `compat_double_norm=False` is given; "autosam",
            "cnn" and "linear" read "minmax01:vit_b" and the like, unless `input_norm="sam"` is given.
        classes: One for each channel; numbered if left out.
        licence: Under which the weights may be used.
        **options: Of that kind's `import_reference`.

    Returns:
        The path of the bundle.

    Raises:
        UnknownNameError: If there is no such kind of head or encoder.
        WeightsError: If the file is of another network, or would run code.
        WeightsMissingError: If the encoder's weights are not here and cannot be downloaded.
        StorageError: If the bundle cannot be written.
    """
    files = [checkpoint] if isinstance(checkpoint, str | Path) else list(checkpoint)
    state: dict[str, Tensor] = {}
    for file in files:
        state |= load_state_dict(file)
    name = encoder if isinstance(encoder, str) else encoder.name
    build: Any = registry[kind].import_reference
    head = build(state, classes, _published(name), **options)
    sources = {one.encoder for one in head.spec.maps}
    wanted = name if "+" in name else sources.pop()
    if isinstance(encoder, str):
        encoder = load_model(wanted, device=load_config().device)
    elif encoder.name != wanted:
        option = "compat_double_norm=False" if kind == "prompt_generator" else 'input_norm="sam"'
        raise WeightsError(
            f"The weights are of a head that reads features of '{wanted}', the model given is '{encoder.name}'; load "
            f"'{wanted}', or say by {option} that pixels were normalised as SAM does."
        )
    if kind == "prompt_generator" and not _holds_decoder(state) and encoder.decoder is not None:
        head.init_from_sam(encoder.decoder.state_dict())
    inner = encoder.encoder
    reference = EncoderRef(encoder.name, inner.weights_digest, inner.preprocessing_version)
    names = [Path(file).name for file in files]
    metadata = Metadata(Path(output).stem, (reference,), data={"imported_from": names}, licence=licence)
    return save_bundle(output, head, metadata)


def _published(name: str) -> str:
    """Return the name of an encoder without what is done to its pixels."""
    for prefix in INPUT_NORMS.values():
        name = name.removeprefix(prefix)
    return name


def _holds_decoder(state: Mapping[str, Tensor]) -> bool:
    return any(key.startswith("mask_decoder.") for key in state)
