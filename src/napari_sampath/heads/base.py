"""The contract of every head, and the catalogue of the kinds of head by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Self, TypeAlias

import torch
from torch import Tensor, nn

from ..arrays import ClassInfo, FeatureMap, FeatureSpec
from ..errors import DatasetError, WeightsError
from ..registry import Registry, check_arguments, lookup

Argument: TypeAlias = int | float | bool | str
"""What the arguments of a head may be: values that JSON holds exactly."""

INPUT_NORMS = {"sam": "", "minmax01": "minmax01:", "double": "double-norm:"}
"""How pixels are normalised before the encoder gets them -> what stands in front of its name."""

_REFERENCE_PREFIXES = ("module.", "mask_decoder.")
"""What the references' checkpoints put in front of a head's keys."""


class Head(nn.Module, ABC):
    """A trained network, features -> class logits, no prompt.

    Channel k of the logits belongs to `classes[k]`. A class with id 0 ("rest") may come first: pixels that
    belong to none of the others.

    Args:
        spec: The maps it reads, concatenated in this order.
        classes: What it tells apart.

    Raises:
        DatasetError: If the classes are fewer than two, or their ids or names are not unique; or there is no
            map to read.
    """

    kind: ClassVar[str]
    """Name of the kind of head, as registered."""
    summary: ClassVar[str]
    """One line for menus and `sampath models`."""
    reads_windows: ClassVar[bool] = True
    """True if it may be trained on parts of a tile; False where the place in the tile matters."""

    def __init__(self, spec: FeatureSpec, classes: Sequence[ClassInfo]) -> None:
        super().__init__()
        if not spec.maps or any(feature.channels < 1 for feature in spec.maps):
            raise DatasetError(
                f"A head reads at least one map with channels, the features given are {spec.maps}."
            )
        self.spec = spec
        self.classes = check_classes(classes)

    @property
    @abstractmethod
    def arguments(self) -> dict[str, Argument]:
        """What was given to the constructor beside spec and classes; builds the same head again."""

    @abstractmethod
    def forward(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Map {map name: (B, C, h, w)} to logits (B, K, h', w') over the same square.

        h = w = 64 for a whole tile; training may pass windows of the grid.
        """

    def forward_with_iou(self, maps: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """Return the logits, and the IoU (B, K) that the head expects of each class; None if it expects none."""
        return self(maps), None

    def init_from_sam(self, sam: Mapping[str, Tensor] | None) -> None:
        """Start from the prompt decoder of the encoder whose features the head reads; called once, before training.

        A head that needs parts of it copies them, so that its bundle holds all that it needs.

        Args:
            sam: Weights under SAM's names, `prompt_encoder.*` and `mask_decoder.*`; None if the encoder
                answers no prompts.

        Raises:
            WeightsError: If the head cannot do without, or the decoder is not SAM's.
        """

    @classmethod
    @abstractmethod
    def import_reference(
        cls, state: Mapping[str, Tensor], classes: Sequence[ClassInfo] | None = None, encoder: str = "vit_b"
    ) -> Self:
        """Build a head from weights under the reference implementation's own names.

        Args:
            state: The reference's state_dict, of the head alone or of a whole model.
            classes: The classes, one per output channel; named by number if left out.
            encoder: Name of the encoder whose features it was trained on.

        Raises:
            WeightsError: If keys or shapes are of another network.
        """

    def gather(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Concatenate the maps that this head reads: (B, channels, h, w).

        Raises:
            WeightsError: If a map is missing or has another number of channels.
        """
        return torch.cat([self.read(maps, wanted) for wanted in self.spec.maps], dim=1)

    def read(self, maps: Mapping[str, Tensor], wanted: FeatureMap) -> Tensor:
        """Return one of the maps that this head reads.

        Raises:
            WeightsError: If it is missing or has another number of channels.
        """
        found = maps.get(wanted.name)
        if found is None or found.shape[1] != wanted.channels:
            given = ", ".join(f"{name} ({values.shape[1]} channels)" for name, values in maps.items())
            raise WeightsError(
                f"The head reads the map '{wanted.name}' with {wanted.channels} channels of {wanted.encoder}, "
                f"the features hold {given or 'none'}; use the encoder the head was trained with."
            )
        return found


class DirectHead(Head):
    """A head that is learned in one go, without gradients."""

    @abstractmethod
    def learn(self, batches: Iterable[tuple[Mapping[str, Tensor], Tensor]], tiles: int, seed: int) -> None:
        """Learn from tiles.

        Args:
            batches: Maps (B, C, h, w) and class indices (B, h', w') int64; ignored where they are no channel.
            tiles: How many tiles come in all.
            seed: Of everything random.

        Raises:
            DatasetError: If no pixel is labelled.
        """


registry: Registry[type[Head]] = Registry("kind of head")


def list_heads(pattern: str = "*") -> list[str]:
    """List the kinds of head that can be trained, by shell wildcard; `list_bundles` lists trained ones."""
    return registry.names(pattern)


def create(kind: str, spec: FeatureSpec, classes: Sequence[ClassInfo], **arguments: Argument) -> Head:
    """Build a head with random weights.

    Args:
        kind: One of `list_heads()`.
        spec: The maps it reads.
        classes: What it tells apart.
        **arguments: Arguments of that kind of head.

    Raises:
        UnknownNameError: If there is no such kind, or it has no such argument.
        ConfigError: If an argument's value is of another type.
        DatasetError: If the classes or an argument's value are not allowed.
    """
    build = registry[kind]
    check_arguments(f"the head '{kind}'", build, arguments, ("spec", "classes"))
    return build(spec, classes, **arguments)


def check_classes(classes: Sequence[ClassInfo]) -> tuple[ClassInfo, ...]:
    """Return the classes as a tuple if they can be the channels of a head.

    Raises:
        DatasetError: If they are fewer than two, or ids or names are not unique, out of range or out of place.
    """
    ids, names = [c.id for c in classes], [c.name for c in classes]
    if len(classes) < 2:
        raise DatasetError(
            f"A head tells at least two classes apart, there is {names or 'none'}; add one, or 'rest' with id 0."
        )
    if len(set(ids)) < len(ids) or len(set(names)) < len(names):
        raise DatasetError(f"The classes {names} have the ids {ids}; give each its own name and id.")
    if any(not 0 <= i <= 255 for i in ids) or 0 in ids[1:]:
        raise DatasetError(f"The class ids are {ids}; allowed are 1 to 255, and 0 for the first class only.")
    return tuple(classes)


def stack_maps(batch: Sequence[Mapping[str, Tensor]], spec: FeatureSpec) -> dict[str, Tensor]:
    """Make a batch {map name: (B, C, h, w)} of tiles {map name: (C, h, w)}, with the maps of `spec` only."""
    names = [feature.name for feature in spec.maps]
    return {name: torch.stack([maps[name] for maps in batch]) for name in names if name in batch[0]}


def own_keys(state: Mapping[str, Tensor], markers: Sequence[str]) -> dict[str, Tensor]:
    """Pick a head's weights out of a reference checkpoint and strip the prefixes.

    Args:
        state: Keys of the head alone or of a whole model.
        markers: First parts of the head's own keys, such as "input_block".
    """
    found = {}
    for key, value in state.items():
        short = key
        for prefix in _REFERENCE_PREFIXES:
            short = short.removeprefix(prefix)
        if short.split(".", 1)[0] in markers:
            found[short] = value
    return found


def load_own(head: Head, state: Mapping[str, Tensor], source: str) -> None:
    """Put weights into a head.

    Raises:
        WeightsError: If names or shapes differ, naming the first difference.
    """
    wanted = head.state_dict()
    for key in (*wanted, *state):
        if key not in state or key not in wanted:
            where = "is missing" if key not in state else "does not belong there"
            raise WeightsError(f"{source} are not those of a '{head.kind}' head: '{key}' {where}.")
        if wanted[key].shape != state[key].shape:
            raise WeightsError(
                f"{source} are not those of this '{head.kind}' head: '{key}' has shape "
                f"{tuple(state[key].shape)} instead of {tuple(wanted[key].shape)}."
            )
    # Assigned, not copied: the head may have been built without memory behind its weights.
    head.load_state_dict({key: value.to(wanted[key].dtype) for key, value in state.items()}, assign=True)


def reference_classes(count: int, classes: Sequence[ClassInfo] | None) -> tuple[ClassInfo, ...]:
    """Return the classes of an imported head with `count` channels; numbered ones if none are given."""
    if classes is None:
        greys = [(index * 255 // max(1, count - 1),) * 3 for index in range(count)]
        return tuple(
            ClassInfo(k, f"class {k}" if k else "rest", (g[0], g[1], g[2])) for k, g in enumerate(greys)
        )
    if len(classes) != count:
        raise WeightsError(f"The weights are of {count} classes, {len(classes)} are given; give {count}.")
    return tuple(classes)


def embedding_spec(channels: int, encoder: str, input_norm: str = "sam") -> FeatureSpec:
    """Describe the features the references' heads read: SAM's embedding alone.

    Args:
        channels: Of the embedding.
        encoder: Its name.
        input_norm: One of `INPUT_NORMS`.

    Raises:
        UnknownNameError: If there is no such way.
    """
    prefix = lookup("input_norm", INPUT_NORMS, input_norm)
    return FeatureSpec((FeatureMap("embedding", channels, f"{prefix}{encoder}"),))
