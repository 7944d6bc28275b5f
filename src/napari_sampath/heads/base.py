"""Base class of all heads, and the registry of head kinds."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Self, TypeAlias

import torch
from torch import Tensor, nn

from ..arrays import ClassInfo, FeatureMap, FeatureSpec
from ..errors import DatasetError, WeightsError
from ..registry import Registry, check_arguments

Argument: TypeAlias = int | float | bool | str
"""Allowed types of a head's arguments: those that JSON stores exactly."""


class Head(nn.Module, ABC):
    """A trained network that maps features to class logits without prompts.

    Channel k of the logits belongs to `classes[k]`. The first class may be the background (id 0), to
    which all pixels without another class belong.

    Args:
        spec: The feature maps to read, concatenated in this order.
        classes: The classes to distinguish.

    Raises:
        DatasetError: If there are fewer than two classes, their ids or names are not unique, or `spec` has no map.
    """

    kind: ClassVar[str]
    """Name under which this kind of head is registered."""
    summary: ClassVar[str]
    """One line for menus and `sampath models`."""
    reads_windows: ClassVar[bool] = True
    """True if the head may be trained on parts of a tile; False if its output depends on the position in the tile."""
    predicts_depth: ClassVar[bool] = False
    """True if the head also predicts the depth of each pixel in its object, by which touching objects are separated."""

    def __init__(self, spec: FeatureSpec, classes: Sequence[ClassInfo]) -> None:
        super().__init__()
        if not spec.maps or any(feature.channels < 1 for feature in spec.maps):
            raise DatasetError(
                f"The features given to the head are {spec.maps}; give at least one map, each with one channel or more."
            )
        self.spec = spec
        self.classes = check_classes(classes)

    @property
    def arguments(self) -> dict[str, Argument]:
        """Constructor arguments, apart from spec and classes, that recreate the head."""
        names = [name for name in inspect.signature(type(self)).parameters if name not in ("spec", "classes")]
        return {name: getattr(self, name) for name in names}

    @abstractmethod
    def forward(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Map {map name: (B, C, h, w)} to logits (B, K, h', w') that cover the same square.

        h = w = 64 for a whole tile; training may pass windows of the grid.
        """

    def forward_with_iou(self, maps: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """Return the logits and the predicted IoU of each class (B, K); None if the head predicts no IoU."""
        return self(maps), None

    def forward_with_depth(self, maps: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """Return the logits and the depth of each cell (B, 1, h', w'), 0..1; None unless `predicts_depth`.

        The depth is 0 outside of objects, and the distance to the outline in relation to its maximum in the object.
        """
        return self(maps), None

    def init_from_sam(self, sam: Mapping[str, Tensor] | None) -> None:
        """Initialise the head before training from the SAM decoder of its encoder.

        A head that needs parts of the decoder copies them, so that its bundle is self-contained.

        Args:
            sam: Weights under SAM's names, `prompt_encoder.*` and `mask_decoder.*`; None if the encoder is not
                promptable.

        Raises:
            DatasetError: If the head needs SAM's decoder and there is none.
            WeightsError: If the decoder is not SAM's.
        """

    def check_state(self) -> None:
        """Check values of the loaded weights that shapes and finiteness do not cover, such as indices.

        Raises:
            ValueError: If a value is not allowed.
        """

    @classmethod
    def import_reference(
        cls, state: Mapping[str, Tensor], classes: Sequence[ClassInfo] | None = None, encoder: str = "vit_b"
    ) -> Self:
        """Build a head from the weights of the published implementation.

        Args:
            state: The published state_dict of the head alone or of a whole model.
            classes: The classes, one per output channel; numbered classes if omitted.
            encoder: Name of the encoder whose features the head was trained on.

        Raises:
            WeightsError: If names or shapes do not match, or no weights are published for this kind of head.
        """
        raise WeightsError(
            f"A '{cls.kind}' head has no published weights to import; train one with 'sampath train'."
        )

    def gather(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Concatenate the maps of the spec to (B, channels, h, w).

        Raises:
            WeightsError: If a map is missing or has a different number of channels.
        """
        return torch.cat([self.read(maps, feature) for feature in self.spec.maps], dim=1)

    def read(self, maps: Mapping[str, Tensor], feature: FeatureMap) -> Tensor:
        """Return one map of the spec, (B, C, h, w).

        Raises:
            WeightsError: If the map is missing or has a different number of channels.
        """
        values = maps.get(feature.name)
        if values is None or values.shape[1] != feature.channels:
            given = ", ".join(f"{name} ({values.shape[1]} channels)" for name, values in maps.items())
            raise WeightsError(
                f"The head reads the map '{feature.name}' with {feature.channels} channels of {feature.encoder}, but "
                f"the features contain {given or 'no maps'}; use the encoder that the head was trained with."
            )
        return values


class DirectHead(Head):
    """A head that is trained in a single pass, without gradient descent."""

    @abstractmethod
    def learn(self, batches: Iterable[tuple[Mapping[str, Tensor], Tensor]], tiles: int, seed: int) -> None:
        """Train on all tiles.

        Args:
            batches: Maps (B, C, h, w) and class indices (B, h', w') int64; indices outside 0..K - 1 are ignored.
            tiles: Total number of tiles.
            seed: Seed of all random choices.

        Raises:
            DatasetError: If no pixel is labelled.
        """


registry: Registry[type[Head]] = Registry("kind of head")


def list_heads(pattern: str = "*") -> list[str]:
    """List the kinds of head whose name matches a shell wildcard; see `list_bundles` for trained heads."""
    return registry.names(pattern)


def create(kind: str, spec: FeatureSpec, classes: Sequence[ClassInfo], **arguments: Argument) -> Head:
    """Build a head with random weights.

    Args:
        kind: One of `list_heads()`.
        spec: The feature maps to read.
        classes: The classes to distinguish.
        **arguments: Further arguments of the constructor of this kind of head.

    Raises:
        UnknownNameError: If there is no such kind, or it has no such argument.
        ConfigError: If an argument has the wrong type.
        DatasetError: If the classes or the value of an argument are not allowed.
    """
    build = registry[kind]
    check_arguments(f"the head '{kind}'", build, arguments, ("spec", "classes"))
    return build(spec, classes, **arguments)


def check_classes(classes: Sequence[ClassInfo]) -> tuple[ClassInfo, ...]:
    """Check that the classes can be the channels of a head, and return them as a tuple.

    Raises:
        DatasetError: If there are fewer than two classes, names or ids are not unique, an id is outside 0..255, or
            the id 0 is not the first.
    """
    ids, names = [info.id for info in classes], [info.name for info in classes]
    if len(classes) < 2:
        raise DatasetError(
            f"The classes are {names or 'empty'}, but a head needs at least two; add one, or 'background' with id 0."
        )
    if len(set(ids)) < len(ids) or len(set(names)) < len(names):
        raise DatasetError(f"The classes {names} have the ids {ids}; give each class its own name and id.")
    if any(not 0 <= i <= 255 for i in ids) or 0 in ids[1:]:
        raise DatasetError(f"The class ids are {ids}; use 1 to 255, and 0 for the first class only.")
    return tuple(classes)


def stack_maps(batch: Sequence[Mapping[str, Tensor]], spec: FeatureSpec) -> dict[str, Tensor]:
    """Stack tiles {map name: (C, h, w)} into a batch {map name: (B, C, h, w)}, keeping only the maps of `spec`."""
    names = [feature.name for feature in spec.maps]
    return {name: torch.stack([maps[name] for maps in batch]) for name in names if name in batch[0]}


def load_weights(head: Head, state: Mapping[str, Tensor], source: str) -> None:
    """Load a complete state_dict into a head.

    Args:
        head: The head; it may have been built on the meta device.
        state: Tensors under the head's own names.
        source: Subject of the error message, in the plural, such as "The weights".

    Raises:
        WeightsError: If names or shapes differ; the message names the first difference.
    """
    expected = head.state_dict()
    for key in (*expected, *state):
        if key not in state or key not in expected:
            fault = "is missing" if key not in state else "is unexpected"
            raise WeightsError(f"{source} do not match a '{head.kind}' head: '{key}' {fault}.")
        if expected[key].shape != state[key].shape:
            raise WeightsError(
                f"{source} do not match this '{head.kind}' head: '{key}' has shape "
                f"{tuple(state[key].shape)} instead of {tuple(expected[key].shape)}."
            )
        if state[key].is_complex() or state[key].is_floating_point() != expected[key].is_floating_point():
            raise WeightsError(
                f"{source} do not match this '{head.kind}' head: '{key}' has type "
                f"{state[key].dtype} instead of {expected[key].dtype}."
            )
    # Assign instead of copying, since a head on the meta device has no memory to copy into.
    head.load_state_dict({key: value.to(expected[key].dtype) for key, value in state.items()}, assign=True)
