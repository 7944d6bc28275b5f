"""Bundles: one `.safetensors` file with a trained head and all that is needed to use it again.

The tensors are the head's weights; the file's metadata holds one JSON text under `sampath_bundle`. Reading
one runs no code: the JSON names a registered kind of head and its arguments, and its shapes must be those
of the tensors before anything is allocated.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import safetensors
import safetensors.torch
import torch

from ..arrays import MAPS, ClassInfo, FeatureMap, FeatureSpec
from ..errors import SampathError, UnknownNameError, WeightsError, WeightsMissingError
from ..files import write_atomically
from ..registry import unknown_name
from .base import Head, create, load_own

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

SCHEMA_VERSION = 1
"""Raised when older programs could no longer read new bundles."""

SUFFIX = ".safetensors"

_SHIPPED = Path(__file__).parent / "bundles"
_METADATA_KEY = "sampath_bundle"

Json: TypeAlias = Any
"""A value that JSON holds."""


@dataclass(frozen=True, slots=True)
class EncoderRef:
    """The encoder a head was trained on, down to its weights."""

    name: str
    weights_digest: str
    """`Encoder.weights_digest` at training."""
    preprocessing_version: int = 1
    """`Encoder.preprocessing_version` at training."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a bundle says beside kind, arguments, features and classes of its head."""

    name: str
    encoders: tuple[EncoderRef, ...]
    """One for each encoder that the head's maps come from."""
    mpp: float | None = None
    """Micrometres per pixel of the training images; None where it is not known."""
    training: Mapping[str, Json] = field(default_factory=dict)
    """The training configuration and what was done with it."""
    metrics: Mapping[str, Json] = field(default_factory=dict)
    """Scores on the split that chose the weights, with the trivial baseline."""
    data: Mapping[str, Json] = field(default_factory=dict)
    """Summary of the training data: name, images, groups, classes."""
    licence: str = ""
    """Under which the weights may be used."""
    attribution: str = ""
    """Whom to name: authors of the training data."""


@dataclass(frozen=True, slots=True, eq=False)
class LoadedHead:
    """A head ready to use, and what its bundle says of it."""

    head: Head
    metadata: Metadata
    source: str
    """The file it was read from."""

    @property
    def name(self) -> str:
        """Name of the head."""
        return self.metadata.name

    @property
    def classes(self) -> tuple[ClassInfo, ...]:
        """What the head tells apart, in the order of its channels."""
        return self.head.classes

    @property
    def encoder_name(self) -> str:
        """Name of the encoder whose features the head reads."""
        return self.metadata.encoders[0].name

    def check_encoder(self, name: str, weights_digest: str, preprocessing_version: int) -> None:
        """Refuse features of another encoder or other weights: the answer would be meaningless, not just worse.

        Raises:
            WeightsError: If the head was not trained on this encoder.
        """
        known = {ref.name: ref for ref in self.metadata.encoders}
        if name not in known:
            raise WeightsError(
                f"The head '{self.name}' reads features of {' and '.join(known)}, the loaded model is '{name}'; "
                f"load '{self.encoder_name}', or train a head for '{name}'."
            )
        ref = known[name]
        if (ref.weights_digest, ref.preprocessing_version) != (weights_digest, preprocessing_version):
            raise WeightsError(
                f"The head '{self.name}' was trained on '{name}' with the weights {ref.weights_digest[:12]}, the "
                f"loaded ones are {weights_digest[:12]}; load those it was trained on, or train it again."
            )


def list_bundles(pattern: str = "*") -> list[str]:
    """List the trained heads in the package by name or shell wildcard: by tissue, of each the lightest file first."""
    files = _SHIPPED.glob(f"*{SUFFIX}")
    ordered = sorted(files, key=lambda path: (path.stem.split("-")[0], path.stat().st_size, path.stem))
    return [path.stem for path in ordered if fnmatch.fnmatchcase(path.stem, pattern)]


def save_bundle(path: str | Path, head: Head, metadata: Metadata, half: bool = False) -> Path:
    """Write a bundle atomically; the same head and metadata give the same bytes.

    Args:
        path: The file, ending in `.safetensors`.
        head: The trained head.
        metadata: What to say of it.
        half: Store float16, half the size; the head is rounded to it.

    Returns:
        The path.

    Raises:
        WeightsError: If the name ends otherwise, or a weight is not a finite number of the type stored.
        StorageError: If the file cannot be written; what was there before is untouched.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise WeightsError(
            f"A bundle is a {SUFFIX} file, the name given is '{path.name}'; change its ending."
        )
    dtype = torch.float16 if half else torch.float32
    state = {
        # Counters, indices and thresholds of trees are kept as they are.
        key: value.detach().to("cpu", dtype if value.dtype == torch.float32 else None).contiguous()
        for key, value in head.state_dict().items()
    }
    _check_finite(
        state, f"The head '{metadata.name}'", "it was not saved; train it again at a lower learning rate"
    )
    text = json.dumps(_describe(head, metadata), sort_keys=True, allow_nan=False)
    content = safetensors.torch.save(state, {_METADATA_KEY: text})
    write_atomically(path, lambda stream: stream.write(content))
    return path


def load_head(source: str | Path) -> LoadedHead:
    """Load a trained head by the name of a shipped bundle, or from a file.

    Args:
        source: A name of `list_bundles()`, or the path of a `.safetensors` bundle.

    Returns:
        The head on the CPU, in evaluation mode, float32, and what its bundle says.

    Raises:
        UnknownNameError: If it is neither a path nor the name of a shipped bundle.
        WeightsMissingError: If there is no such file.
        WeightsError: If the file is truncated, altered or no bundle.
    """
    path = _locate(source)
    state, text = _read(path)
    try:
        content = json.loads(text)
        if not isinstance(content, dict) or not isinstance(content["schema"], int):
            raise TypeError("no schema version")
        if content["schema"] > SCHEMA_VERSION:
            raise WeightsError(
                f"'{path}' was made by a newer version of napari-sampath (bundle format {content['schema']}, "
                f"this one reads {SCHEMA_VERSION}); update napari-sampath."
            )
        metadata = _parse_metadata(content)
        # On the meta device nothing is allocated, however large the arguments are.
        with torch.device("meta"):
            head = create(
                str(content["head"]["kind"]),
                _parse_spec(content["features"]),
                _parse_classes(content["classes"]),
                **content["head"]["arguments"],
            )
    except WeightsError:
        raise
    except (
        SampathError,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        RuntimeError,
        RecursionError,
    ) as error:
        raise WeightsError(
            f"'{path}' is no bundle of this program ({error}); choose a file made by 'sampath train'."
        ) from error
    load_own(head, state, f"The tensors in '{path}'")
    _check_finite(head.state_dict(), f"'{path}'", "it is damaged: copy or train it again")
    return LoadedHead(head.eval().requires_grad_(False), metadata, str(path))


def _locate(source: str | Path) -> Path:
    if isinstance(source, str) and source in list_bundles():
        return _SHIPPED / f"{source}{SUFFIX}"
    path = Path(source).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        raise WeightsError(f"'{path}' is a folder; name the bundle in it.")
    if isinstance(source, str) and path.name == source and path.suffix != SUFFIX:
        raise UnknownNameError(unknown_name("trained head", source, list_bundles()))
    raise WeightsMissingError(
        f"There is no bundle '{path}'; check the path, or name one of {list_bundles()}."
    )


def _read(path: Path) -> tuple[dict[str, Tensor], str]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_METADATA_KEY)
            if text is None:
                raise WeightsError(
                    f"'{path}' is no bundle: it holds tensors but does not say of what; "
                    "choose a file made by 'sampath train'."
                )
            # Cloned: the file may be replaced while the head is in use.
            return {key: file.get_tensor(key).clone() for key in file.keys()}, text  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, RuntimeError, ValueError) as error:
        if isinstance(error, SampathError):
            raise
        raise WeightsError(
            f"'{path}' ({path.stat().st_size} bytes) is truncated, damaged or no bundle; copy or train it again."
        ) from error


def _check_finite(state: Mapping[str, Tensor], what: str, advice: str) -> None:
    for key, values in state.items():
        if not bool(torch.isfinite(values).all()):
            raise WeightsError(f"{what} holds weights that are not finite numbers ('{key}'); {advice}.")


def _describe(head: Head, metadata: Metadata) -> dict[str, Json]:
    return {
        "schema": SCHEMA_VERSION,
        "head": {"kind": head.kind, "arguments": head.arguments},
        "features": [dataclasses.asdict(feature) for feature in head.spec.maps],
        "classes": [dataclasses.asdict(c) for c in head.classes],
        **dataclasses.asdict(metadata),
    }


def _parse_metadata(content: Mapping[str, Json]) -> Metadata:
    refs = tuple(
        EncoderRef(str(ref["name"]), str(ref["weights_digest"]), int(ref["preprocessing_version"]))
        for ref in content["encoders"]
    )
    if not refs:
        raise ValueError("it names no encoder")
    mpp = content["mpp"]
    if mpp is not None and not (isinstance(mpp, int | float) and math.isfinite(mpp) and mpp > 0):
        raise ValueError(f"mpp is {mpp}")
    return Metadata(
        name=str(content["name"]),
        encoders=refs,
        mpp=mpp,
        training=dict(content["training"]),
        metrics=dict(content["metrics"]),
        data=dict(content["data"]),
        licence=str(content["licence"]),
        attribution=str(content["attribution"]),
    )


def _parse_spec(entries: Sequence[Mapping[str, Json]]) -> FeatureSpec:
    for entry in entries:
        # Of a pair's second encoder "<its name>.<map>".
        if str(entry["name"]).rpartition(".")[2] not in MAPS:
            raise ValueError(f"it reads a map '{entry['name']}', which no encoder has")
    return FeatureSpec(
        tuple(FeatureMap(str(e["name"]), int(e["channels"]), str(e["encoder"])) for e in entries)
    )


def _parse_classes(entries: Sequence[Mapping[str, Json]]) -> tuple[ClassInfo, ...]:
    classes = []
    for entry in entries:
        red, green, blue = (int(value) for value in entry["color"])
        if not all(0 <= value <= 255 for value in (red, green, blue)):
            raise ValueError(f"the colour of '{entry['name']}' is out of range")
        classes.append(ClassInfo(int(entry["id"]), str(entry["name"]), (red, green, blue)))
    return tuple(classes)
