"""The result of a head on a whole slide: an OME-Zarr folder that is complete block by block.

    RESULT.ome.zarr/
        zarr.json                   attributes "sampath": fingerprint of the run, size, scale, classes
        classes/0 ... 4             class ids, uint8 (NGFF 0.5); each level has half the size
        confidence/0 ... 4          probability of that class, 0 to 255
        blocks/3_7                  empty file: the block in row 3, column 7 is complete
        objects/, block_objects/    see `slide_objects`

A block consists of whole chunks at every level, so that several processes can write at the same time. It counts as
complete when its file in `blocks` exists, which is created last.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...arrays import ClassInfo, FloatArray, UInt8Array
from ...errors import StorageError, first_line, refuse
from ...rasters.zarr_arrays import Node, array_info
from .chunk_sync import chunk_files, end_writes, sync_files
from .result_record import difference, read_record

if TYPE_CHECKING:
    import zarr

BLOCK_PX = 6144
"""Side of a block in pixels of the result: 8 strides of the tiles of a head."""
LEVELS = 5
CHUNK_PX = BLOCK_PX >> (LEVELS - 1)
"""Side of a chunk at every level: that of a block at the coarsest level."""
VERSION = "0.5"

Box = tuple[int, int, int, int]
"""(r0, c0, r1, c1) in pixels; r1 and c1 are exclusive."""


@dataclass(frozen=True, slots=True)
class Block:
    """One unit of a run."""

    row: int
    col: int
    box: Box
    """Its pixels in the result, clipped to the size of the result."""

    @property
    def name(self) -> str:
        """Name of the file that marks it as complete."""
        return f"{self.row}_{self.col}"


class SlideResult:
    """A result on disk; see `SlideResult.open`.

    Attributes:
        path: Folder of the result.
        hw: Size (H, W) in pixels.
        mpp: Micrometres per pixel; None if unknown.
        factor: Level-0 pixels of the slide per pixel.
        fingerprint: Everything that the pixels depend on.
        classes_of_head: The classes of the head.
        blocks: All blocks, row by row.
    """

    def __init__(self, path: Path, hw: tuple[int, int]) -> None:
        self.path = path
        self.hw = hw
        record, _ = read_record(path)
        self.mpp = record.mpp
        self.factor = record.factor
        self.fingerprint: Mapping[str, Any] = record.fingerprint
        self.classes_of_head = record.classes
        self.blocks = tuple(blocks_of(hw))
        self._arrays = {
            name: [_open_array(path / name / str(level), _level_hw(hw, level)) for level in range(LEVELS)]
            for name in ("classes", "confidence")
        }

    @classmethod
    def open(
        cls,
        path: Path,
        hw: tuple[int, int],
        mpp: float | None,
        factor: float,
        classes: Sequence[ClassInfo],
        fingerprint: Mapping[str, Any],
        create: bool = True,
    ) -> tuple[SlideResult, str | None]:
        """Open the unfinished result of the same run, or create a new one.

        Args:
            path: Folder of the result, ending in `.ome.zarr`. If it holds the result of another run, the new result
                gets a name with a number.
            hw: Size (H, W) in pixels of the result.
            mpp: Micrometres per pixel of the result; None if unknown.
            factor: Level-0 pixels of the slide per pixel of the result.
            classes: Classes of the head.
            fingerprint: Everything that the pixels depend on.
            create: Whether a new result may be created.

        Returns:
            The result, and a sentence if another name was chosen.

        Raises:
            StorageError: If it cannot be written, there is something else with this name, or there is no result of the
                same run that may not be created.
        """
        content = {
            "fingerprint": dict(fingerprint),
            "hw": list(hw),
            "mpp": mpp,
            "factor": factor,
            "classes": [asdict(info) for info in classes],
        }
        # JSON stores tuples as lists
        content = json.loads(json.dumps(content))
        number, place = 1, path
        while True:
            if place.exists():
                _, stored = read_record(place)
                if stored == content:
                    break
                if not create:
                    raise StorageError(difference(path, stored, content))
                number += 1
                place = path.with_name(f"{path.name.removesuffix('.ome.zarr')} ({number}).ome.zarr")
                continue
            if _create(place, content):
                break
        note = None
        if place != path:
            note = f"'{path}' holds the result of another slide, head, scale or tissue, so this one is '{place.name}'."
        return cls(place, hw), note

    @classmethod
    def load(cls, path: Path) -> SlideResult:
        """Open a result, whatever run it is of.

        Raises:
            StorageError: If the folder is not a result.
        """
        return cls(path, read_record(path)[0].hw)

    @property
    def head(self) -> str:
        """Name of the head."""
        return str(self.fingerprint.get("head", ""))

    def is_done(self, block: Block) -> bool:
        """Return True if a block is complete."""
        return (self.path / "blocks" / block.name).exists()

    def mark(self, block: Block) -> None:
        """Mark a block as complete; blocks without tissue are only marked."""
        try:
            (self.path / "blocks" / block.name).touch()
        except OSError as error:
            raise _unwritable(self.path, error) from error

    def write(self, block: Block, labels: UInt8Array, confidence: UInt8Array | FloatArray) -> None:
        """Write a block at all levels, then mark it as complete.

        Args:
            block: The block.
            labels: (h, w) uint8, class ids.
            confidence: (h, w) uint8, 0 to 255, or float32, 0 to 1.

        Raises:
            StorageError: If the disk is full or the folder is gone; the block is then incomplete.
        """
        scaled = confidence if confidence.dtype == np.uint8 else np.rint(confidence * 255).astype(np.uint8)
        try:
            for name, values in (("classes", labels), ("confidence", scaled)):
                for level, array in enumerate(self._arrays[name]):
                    # Take every second pixel, because class ids cannot be averaged.
                    part = values[:: 2**level, :: 2**level]
                    r0, c0 = block.box[0] >> level, block.box[1] >> level
                    array[r0 : r0 + part.shape[0], c0 : c0 + part.shape[1]] = part
            sync_files(
                file
                for name in self._arrays
                for level in range(LEVELS)
                for file in chunk_files(self.path / name / str(level), block.box, level, CHUNK_PX)
            )
        except OSError as error:
            end_writes()
            raise _unwritable(self.path, error) from error
        self.mark(block)

    def classes(self, box: Box, level: int = 0) -> UInt8Array:
        """Read the class ids of a box of a level; 0 where no block has been written."""
        return self.read("classes", box, level)

    def confidence(self, box: Box, level: int = 0) -> UInt8Array:
        """Read the confidence, 0 to 255, of a box of a level."""
        return self.read("confidence", box, level)

    def read(self, name: str, box: Box, level: int = 0) -> UInt8Array:
        """Read a box (r0, c0, r1, c1) of a level of the map "classes" or "confidence".

        Raises:
            StorageError: If it cannot be read.
        """
        r0, c0, r1, c1 = box
        try:
            values: UInt8Array = np.asarray(self._arrays[name][level][r0:r1, c0:c1])
        except (OSError, ValueError, RuntimeError) as error:
            raise StorageError(
                f"'{self.path}' is damaged or gone ({first_line(error)}); delete it, and run the same command again."
            ) from error
        return values

    def blocks_in(self, box: Box) -> list[Block]:
        """Return the blocks that a box overlaps, row by row."""
        cols = -(-self.hw[1] // BLOCK_PX)
        rows = range(box[0] // BLOCK_PX, (box[2] - 1) // BLOCK_PX + 1)
        return [
            self.blocks[row * cols + col]
            for row in rows
            for col in range(box[1] // BLOCK_PX, (box[3] - 1) // BLOCK_PX + 1)
        ]

    def neighbours(self, block: Block) -> list[Block]:
        """Return a block and those around it, row by row."""
        r0, c0, r1, c1 = block.box
        height, width = self.hw
        return self.blocks_in((max(r0 - 1, 0), max(c0 - 1, 0), min(r1 + 1, height), min(c1 + 1, width)))

    @property
    def is_complete(self) -> bool:
        """True if all blocks are complete."""
        return all(self.is_done(block) for block in self.blocks)


def is_result(path: Path) -> bool:
    """Return True if a folder is the result of a run on a slide."""
    try:
        read_record(path)
    except StorageError:
        return False
    return True


def blocks_of(hw: tuple[int, int]) -> list[Block]:
    """Divide a result of size (H, W) into blocks, row by row."""
    height, width = hw
    return [
        Block(row, col, (top, left, min(top + BLOCK_PX, height), min(left + BLOCK_PX, width)))
        for row, top in enumerate(range(0, height, BLOCK_PX))
        for col, left in enumerate(range(0, width, BLOCK_PX))
    ]


def _create(path: Path, content: dict[str, Any]) -> bool:
    """Create an empty result under a temporary name and rename it; False if another process was faster."""
    import zarr

    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        root = zarr.open_group(temporary, mode="w", zarr_format=3, attributes={"sampath": content})
        for name in ("classes", "confidence"):
            create_pyramid(root, name, content["hw"], content["mpp"], "uint8")
        group: Any = root["classes"]
        group.attrs["ome"] = {**group.attrs["ome"], "image-label": _image_label(content["classes"])}
        (temporary / "blocks").mkdir()
        try:
            os.rename(temporary, path)
        except OSError:
            if not path.exists():  # Otherwise another process created the result at the same time.
                raise
            return False
        return True
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def create_pyramid(
    root: zarr.Group, name: str, hw: Sequence[int], mpp: float | None, dtype: str
) -> list[zarr.Array[Any]]:
    """Create an empty map of `LEVELS` levels in a group, with the metadata of NGFF 0.5; return its levels."""
    group: Any = root.create_group(name)
    levels, arrays = [], []
    for level in range(LEVELS):
        array = group.create_array(
            str(level),
            shape=_level_hw(hw, level),
            chunks=(CHUNK_PX, CHUNK_PX),
            dtype=dtype,
            fill_value=0,
            dimension_names=["y", "x"],
        )
        arrays.append(array)
        side = (mpp or 1.0) * 2**level
        transformation = {"type": "scale", "scale": [side, side]}
        levels.append({"path": str(level), "coordinateTransformations": [transformation]})
    unit = {"unit": "micrometer"} if mpp else {}
    axes = [{"name": axis, "type": "space", **unit} for axis in "yx"]
    group.attrs["ome"] = {
        "version": VERSION,
        "multiscales": [{"name": name, "axes": axes, "datasets": levels}],
    }
    return arrays


def _image_label(classes: list[dict[str, Any]]) -> dict[str, Any]:
    colors = [
        {"label-value": info["id"], "rgba": [*info["color"], 255 if info["id"] else 0]} for info in classes
    ]
    properties = [{"label-value": info["id"], "class": info["name"]} for info in classes]
    return {"version": VERSION, "colors": colors, "properties": properties}


def _level_hw(hw: Sequence[int], level: int) -> tuple[int, int]:
    return -(-hw[0] >> level), -(-hw[1] >> level)


def _open_array(path: Path, hw: tuple[int, int]) -> zarr.Array[Any]:
    import zarr

    node = Node.open(path)
    # `array_info` refuses codecs that run code.
    info = None if node is None else array_info(node)
    if info is None or tuple(info.shape) != hw or info.dtype != np.uint8:
        refuse(
            path,
            f"is not a map of {hw[0]} x {hw[1]} bytes",
            "delete the result, and run the same command again",
        )
    return zarr.open_array(path, mode="r+")


def _unwritable(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"'{path}' cannot be written ({error.strerror or error}); free some space or choose another folder, and run "
        "the same command again to continue."
    )
