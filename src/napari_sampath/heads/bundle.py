"""Bundles: `.safetensors` files that contain a trained head and everything needed to use it.

The tensors are the weights of the head; the file's metadata holds a JSON text under `sampath_bundle`. Reading a bundle
runs no code: the JSON names a registered kind of head and its arguments, and the tensors are checked against the
resulting shapes before any memory is allocated.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..arrays import MAPS, ClassInfo, FeatureMap, FeatureSpec, class_key
from ..errors import SampathError, UnknownNameError, WeightsError, WeightsMissingError
from ..files import JsonError, from_json, parse_json, write_atomically
from ..files.json_reader import Range
from ..files.tensor_file import DamagedFileError, dump_tensors, note_unverified, read_tensors
from ..registry import unknown_name
from .base import Head, create, load_weights

SCHEMA_VERSION = 1
"""Version of the format; increased when older programs can no longer read new bundles."""

SUFFIX = ".safetensors"

_SHIPPED = Path(__file__).parent / "bundles"
_METADATA_KEY = "sampath_bundle"
_MAX_TEXT_BYTES = 2**24
_BACKGROUND, _FORMER_BACKGROUND = "background", "rest"
"""Name of class 0, and its name in bundles of earlier versions."""

Json: TypeAlias = Any
"""A value that JSON can store."""


@dataclass(frozen=True, slots=True)
class EncoderRef:
    """The encoder that a head was trained on, including its weights."""

    name: str
    weights_digest: str
    """`Encoder.weights_digest` when the head was trained."""
    preprocessing_version: int = 1
    """`Encoder.preprocessing_version` when the head was trained."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """Description of a trained head, stored in its bundle."""

    name: str
    encoders: tuple[EncoderRef, ...]
    """Encoders whose maps the head reads."""
    mpp: float | None = None
    """Micrometres per pixel of the training images; None if unknown."""
    training: Mapping[str, Json] = field(default_factory=dict)
    """Training configuration, and the epoch at which the weights were saved."""
    metrics: Mapping[str, Json] = field(default_factory=dict)
    """Scores of the head and of the trivial baseline on the split that selected the weights."""
    data: Mapping[str, Json] = field(default_factory=dict)
    """Summary of the training data: name, images, groups, classes."""
    licence: str = ""
    """Licence of the weights."""
    attribution: str = ""
    """Authors of the training data, for citation."""


@dataclass(frozen=True, slots=True)
class _Construction:
    """Kind of a head and the arguments of its constructor."""

    kind: str
    arguments: Mapping[str, bool | int | float | str]


@dataclass(frozen=True, slots=True)
class _Description:
    """Content of the JSON text in a bundle."""

    head: _Construction
    features: tuple[FeatureMap, ...]
    classes: tuple[ClassInfo, ...]
    name: str
    encoders: tuple[EncoderRef, ...]
    mpp: Annotated[float, Range(1e-6, 1e6)] | None
    training: Mapping[str, Json]
    metrics: Mapping[str, Json]
    data: Mapping[str, Json]
    licence: str
    attribution: str

    def metadata(self) -> Metadata:
        """Return the description of the head.

        Raises:
            ValueError: If no encoder is named, or a colour is out of range.
        """
        for info in self.classes:
            if not all(0 <= value <= 255 for value in info.color):
                raise ValueError(f"the colour of '{info.name}' is {info.color}")
        if not self.encoders:
            raise ValueError("no encoder is named")
        return Metadata(**{f.name: getattr(self, f.name) for f in dataclasses.fields(Metadata)})


@dataclass(frozen=True, slots=True, eq=False)
class LoadedHead:
    """A trained head with the metadata of its bundle."""

    head: Head
    metadata: Metadata
    source: str
    """Path of the bundle."""

    @property
    def name(self) -> str:
        """Name of the head."""
        return self.metadata.name

    @property
    def classes(self) -> tuple[ClassInfo, ...]:
        """The classes of the head, in the order of its channels."""
        return self.head.classes

    @property
    def encoder_name(self) -> str:
        """Name of the encoder whose features the head reads."""
        return self.metadata.encoders[0].name

    def check_encoder(self, name: str, weights_digest: str, preprocessing_version: int) -> None:
        """Check that the head was trained on this encoder with these weights; otherwise its output is meaningless.

        Raises:
            WeightsError: If the head was trained on a different encoder or on different weights.
        """
        refs = {ref.name: ref for ref in self.metadata.encoders}
        if name not in refs:
            raise WeightsError(
                f"The head '{self.name}' reads features of {' and '.join(refs)}, but the loaded model is '{name}'; "
                f"load '{self.encoder_name}', or train a head for '{name}'."
            )
        ref = refs[name]
        if (ref.weights_digest, ref.preprocessing_version) != (weights_digest, preprocessing_version):
            raise WeightsError(
                f"The head '{self.name}' was trained on '{name}' with the weights {ref.weights_digest[:12]}, but "
                f"the loaded weights are {weights_digest[:12]}; load the former, or train the head again."
            )


def list_bundles(pattern: str = "*") -> list[str]:
    """List the shipped trained heads that match a shell wildcard, by tissue, then by file size."""
    files = _SHIPPED.glob(f"*{SUFFIX}")
    ordered = sorted(files, key=lambda path: (path.stem.split("-")[0], path.stat().st_size, path.stem))
    return [path.stem for path in ordered if fnmatch.fnmatchcase(path.stem, pattern)]


def save_bundle(path: str | Path, head: Head, metadata: Metadata, half: bool = False) -> Path:
    """Write a bundle atomically; the same head and metadata give the same bytes.

    Args:
        path: The file, ending in `.safetensors`.
        head: The trained head.
        metadata: Name, encoder, scores and licence.
        half: Store the weights as float16, which halves the size of the file.

    Returns:
        The path.

    Raises:
        WeightsError: If the file name has a different ending, or a weight is not finite in the stored type.
        StorageError: If the file cannot be written; an existing file is left unchanged.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise WeightsError(f"The bundle '{path.name}' does not end in {SUFFIX}; rename it.")
    dtype = torch.float16 if half else torch.float32
    state = {
        # Keep the type of counters, and of the indices and thresholds of trees.
        key: value.detach().to("cpu", dtype if value.dtype == torch.float32 else None).contiguous()
        for key, value in head.state_dict().items()
    }
    _check_finite(
        state, f"The head '{metadata.name}'", "it was not saved; train it again at a lower learning rate"
    )
    content = {
        "schema": SCHEMA_VERSION,
        "head": {"kind": head.kind, "arguments": head.arguments},
        "features": [dataclasses.asdict(feature) for feature in head.spec.maps],
        "classes": [dataclasses.asdict(info) for info in head.classes],
        **dataclasses.asdict(metadata),
    }
    text = json.dumps(content, sort_keys=True, allow_nan=False)
    data = dump_tensors(state, {_METADATA_KEY: text})
    write_atomically(path, lambda stream: stream.write(data))
    return path


class _WithoutValues(TorchFunctionMode):
    """Leaves out normally distributed initial values: on the meta device, they make PyTorch import its compiler."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func in (torch.Tensor.normal_, torch.nn.init.normal_):
            return args[0] if args else given["tensor"]
        return func(*args, **given)


def load_head(source: str | Path) -> LoadedHead:
    """Load a shipped head by name, or a trained head from a file.

    Args:
        source: A name of `list_bundles()`, or the path of a `.safetensors` bundle.

    Returns:
        The head (float32, on the CPU, in evaluation mode) and the metadata of its bundle.

    Raises:
        UnknownNameError: If `source` is neither a path nor the name of a shipped bundle.
        WeightsMissingError: If there is no such file.
        WeightsError: If the file is truncated, altered or not a bundle.
    """
    path = locate_bundle(source)
    state, text = _read(path)
    try:
        content = parse_json(text, _MAX_TEXT_BYTES)
        schema = content.get("schema") if isinstance(content, dict) else None
        if not isinstance(schema, int):
            raise JsonError("it has no schema version")
        if schema > SCHEMA_VERSION:
            raise WeightsError(
                f"'{path}' was made by a newer version of napari-sampath (bundle format {schema}; "
                f"this version reads up to {SCHEMA_VERSION}); update napari-sampath."
            )
        description = from_json(_Description, _rename_background(content))
        metadata = description.metadata()
        # Build on the meta device, so that no memory is allocated however large the arguments are.
        with torch.device("meta"), _WithoutValues():
            head = create(
                description.head.kind,
                _check_spec(description.features),
                description.classes,
                **description.head.arguments,
            )
    except WeightsError:
        raise
    except (SampathError, JsonError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(
            f"'{path}' is not a napari-sampath bundle ({error}); choose a file made by 'sampath train'."
        ) from error
    load_weights(head, state, f"The tensors in '{path}'")
    _check_finite(head.state_dict(), f"'{path}'", "the file is damaged: copy or train it again")
    try:
        head.check_state()
    except ValueError as error:
        raise WeightsError(f"'{path}' is damaged ({error}); copy or train it again.") from error
    return LoadedHead(head.eval().requires_grad_(False), metadata, str(path))


def locate_bundle(source: str | Path) -> Path:
    """Return the file of a shipped head or of a path, as `load_head` does.

    Raises:
        UnknownNameError: If `source` is neither a path nor the name of a shipped bundle.
        WeightsMissingError: If there is no such file.
        WeightsError: If it is a folder.
    """
    if isinstance(source, str) and source in list_bundles():
        return _SHIPPED / f"{source}{SUFFIX}"
    path = Path(source).expanduser()
    if path.is_dir():
        raise WeightsError(f"'{path}' is a folder; give the path of a bundle in it.")
    if path.exists():
        return path
    if isinstance(source, str) and path.name == source and path.suffix != SUFFIX:
        raise UnknownNameError(unknown_name("trained head", source, list_bundles()))
    raise WeightsMissingError(
        f"There is no bundle '{path}'; check the path, or choose from {list_bundles()}."
    )


def _read(path: Path) -> tuple[dict[str, Tensor], str]:
    try:
        file = read_tensors(path)
    except (DamagedFileError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WeightsError(
            f"'{path}' cannot be used as a bundle ({reason}); copy or train it again."
        ) from error
    text = file.metadata.get(_METADATA_KEY)
    if text is None:
        raise WeightsError(
            f"'{path}' is not a bundle: it contains tensors but no description of a head; "
            "choose a file made by 'sampath train'."
        )
    if not file.verified:
        note_unverified(path, "train the head again to add one")
    return file.tensors, text


def _check_finite(state: Mapping[str, Tensor], subject: str, advice: str) -> None:
    for key, values in state.items():
        if not bool(torch.isfinite(values).all()):
            raise WeightsError(f"{subject} has weights that are not finite numbers ('{key}'); {advice}.")


def _rename_background(content: dict[str, Json]) -> dict[str, Json]:
    """Rename class 0 of bundles from earlier versions in the class list, the scores and the data summary."""
    classes = content.get("classes")
    entries = [entry for entry in classes if isinstance(entry, dict)] if isinstance(classes, list) else []
    keys = [class_key(str(entry.get("name"))) for entry in entries]
    former = any(entry.get("id") == 0 and entry.get("name") == _FORMER_BACKGROUND for entry in entries)
    if not former or _BACKGROUND in keys:
        return content

    def rename(value: Json) -> Json:
        if isinstance(value, dict):
            return {rename(key): rename(item) for key, item in value.items()}
        if isinstance(value, list):
            return [rename(item) for item in value]
        return _BACKGROUND if value == _FORMER_BACKGROUND else value

    return content | {key: rename(content[key]) for key in ("classes", "metrics", "data") if key in content}


def _check_spec(maps: tuple[FeatureMap, ...]) -> FeatureSpec:
    for entry in maps:
        # Maps of the second encoder of a pair are named "<encoder>.<map>".
        if entry.name.rpartition(".")[2] not in MAPS:
            raise ValueError(f"no encoder has the map '{entry.name}'")
    return FeatureSpec(maps)
