"""Training examples from committed objects: embedding of the tile, mask, and the prompts that the user gave."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from ....annotations import AnnotatedObject, bounds
from ....annotations.model.annotated_object import TRUSTED
from ....arrays import LOGITS_PX, BoolArray, Features, FloatArray, IntArray, LocalMask
from ....geometry import Frame
from ....jobs import Job, Progress
from ....predict.decoder.mask_upscaling import mask_to_logits
from ....tiling import slide_tile_for, tile_for
from ..windows import MIN_CELLS, Window

if TYPE_CHECKING:
    from ....predict import Model

HELD_BACK = 4
"""One of this many objects is held back to measure the adapted decoder."""


@dataclass(frozen=True, slots=True, eq=False)
class RecordedObject:
    """Mask of a committed object, and the prompts with which the user made it, in image pixels."""

    key: str
    """Identifies the object; decides whether it is held back."""
    mask: LocalMask
    points_xy: tuple[tuple[float, float], ...]
    labels: tuple[int, ...]
    """1 for positive and 0 for negative points."""
    box_xyxy: tuple[float, float, float, float] | None

    @classmethod
    def of(cls, obj: AnnotatedObject, mask: LocalMask, image: str) -> RecordedObject | None:
        """Return the example of an object; None if it has no prompts, was not reviewed, or was edited since.

        Args:
            obj: The record.
            mask: Its current pixels.
            image: Identifies the image, such as its digest.
        """
        prompts = obj.prompts
        if obj.trust != TRUSTED or not (prompts.get("points") or prompts.get("box")):
            return None
        return cls.make(f"{image}/{obj.id}", mask, prompts)

    @classmethod
    def make(cls, key: str, mask: LocalMask, prompts: Mapping[str, Any]) -> RecordedObject | None:
        """Return the example of a mask and prompts as in `AnnotatedObject.prompts`; None if they do not match."""
        points = tuple((float(x), float(y)) for x, y in prompts.get("points") or ())
        labels = tuple(int(label) for label in prompts.get("labels") or ())
        box = prompts.get("box")
        if not mask.bitmap.any() or len(points) != len(labels) or not (points or box):
            return None
        if any(_inside(mask, point) != bool(label) for point, label in zip(points, labels, strict=True)):
            return None
        corners = None
        if box is not None:
            x0, y0, x1, y1 = (float(value) for value in box)
            corners = x0, y0, x1, y1
        return cls(key, mask, points, labels, corners)

    @property
    def held_back(self) -> bool:
        """Whether the object is used only for measuring."""
        return zlib.crc32(self.key.encode()) % HELD_BACK == 0

    def positions(self) -> FloatArray:
        """Return the points and the corners of the box and the mask as (N, 2) pairs (x, y)."""
        r0, c0, r1, c1 = bounds(self.mask)
        corners = [(c0, r0), (c1, r1), *self.points_xy]
        if self.box_xyxy is not None:
            corners += [self.box_xyxy[:2], self.box_xyxy[2:]]
        return np.array(corners, dtype=np.float64)


def _inside(mask: LocalMask, point: tuple[float, float]) -> bool:
    """Return True if a mask covers the pixel of a point (x, y)."""
    row, col = (int(v) for v in (point[1] - mask.row, point[0] - mask.col))
    row, col = row // mask.step, col // mask.step
    height, width = mask.bitmap.shape
    return 0 <= row < height and 0 <= col < width and bool(mask.bitmap[row, col])


@dataclass(frozen=True, slots=True, eq=False)
class PromptExample:
    """One object on a tile, in pixels of the encoder's square input."""

    target: BoolArray
    """(256, 256), the mask on the logit grid."""
    points_xy: FloatArray
    """(N, 2) points (x, y); N may be 0."""
    labels: IntArray
    """(N,) 1 for positive and 0 for negative points."""
    box_xyxy: FloatArray | None
    """(4,), or None."""
    held_back: bool


@dataclass(frozen=True, slots=True, eq=False)
class ExampleTile:
    """The embedding of a tile, and the objects on it."""

    embedding: npt.NDArray[np.float16]
    """(256, 64, 64)."""
    examples: list[PromptExample] = field(default_factory=list)

    @property
    def trained(self) -> list[PromptExample]:
        """The examples that are trained on."""
        return [example for example in self.examples if not example.held_back]

    def window(self) -> Window:
        """Return the window of the examples that are trained on, with ids from 1; its pixels are not used."""
        instances = np.zeros((LOGITS_PX, LOGITS_PX), np.int32)
        trained = self.trained
        for number, example in enumerate(trained, start=1):
            instances[example.target] = number
        areas = np.bincount(instances.ravel(), minlength=len(trained) + 1)
        prompted = tuple(number for number in range(1, len(trained) + 1) if areas[number] >= MIN_CELLS)
        side = LOGITS_PX * 4
        pixels = torch.zeros((), dtype=torch.uint8).expand(side, side, 3)
        return Window(pixels, instances, np.broadcast_to(np.uint8(0), instances.shape), prompted)


def collect_job(
    objects: Iterable[RecordedObject],
    hw: tuple[int, int],
    features: Callable[[Frame], Features],
    is_slide: bool = False,
) -> Job[list[ExampleTile]]:
    """Make a job that converts the objects of one image to examples, grouped by tile.

    Args:
        objects: The objects.
        hw: Size (H, W) of the image.
        features: Returns the features of a tile, from a cache or computed.
        is_slide: Whether tiles are chosen as on a slide.
    """
    by_frame: dict[Frame, list[RecordedObject]] = {}
    choose = slide_tile_for if is_slide else tile_for
    for item in objects:
        by_frame.setdefault(choose(hw, item.positions()), []).append(item)
    tiles = []
    for number, (frame, items) in enumerate(by_frame.items()):
        yield Progress(number, len(by_frame), "Collecting your objects", "tiles")
        tile = features(frame)
        embedding = tile.maps["embedding"].detach().cpu().numpy().astype(np.float16)
        examples = [_example(item, tile.frame) for item in items]
        tiles.append(ExampleTile(embedding, [example for example in examples if example.target.any()]))
    return tiles


def _example(item: RecordedObject, frame: Frame) -> PromptExample:
    box = None
    if item.box_xyxy is not None:
        box = frame.to_input(np.reshape(item.box_xyxy, (2, 2))).reshape(4)
    return PromptExample(
        mask_to_logits(item.mask, frame) > 0,
        frame.to_input(np.reshape(item.points_xy, (-1, 2))),
        np.array(item.labels, dtype=np.int64),
        box,
        item.held_back,
    )


def sample_tiles(model: Model) -> list[ExampleTile]:
    """Return the tile of the image that is shipped as sample, without objects, as data unlike the user's.

    The adapted decoder has to answer there as before.
    """
    from importlib.resources import as_file, files

    from ....images import read

    with as_file(files("napari_sampath.images") / "samples" / "CMU-1-region.jpg") as path:
        features = model.encode(read(path).pixels)
    return [ExampleTile(features.maps["embedding"].cpu().numpy().astype(np.float16))]
