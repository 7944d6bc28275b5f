"""The outlines of the prompt decoder in the result of a slide, before each pixel is given to one object.

RESULT.ome.zarr/
block_outlines/SETTINGS/3_7/    masks of the objects of block 3, 7; renamed into place when it is complete
block_outlines/SETTINGS/3_7_12/ masks of the objects in a large component, named after its first block and piece
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from ...arrays import LocalMask
from ...errors import StorageError
from .slide_objects import new_folder

if TYPE_CHECKING:
    from ...arrays import FloatArray, IntArray, UInt8Array


@dataclass(frozen=True, slots=True, eq=False)
class Outlines:
    """A mask for each of N objects, in pixels of the result."""

    box: IntArray
    """(N, 4) int64, (r0, c0, r1, c1) of the bitmap; r1 and c1 are exclusive. Empty if the object has no outline."""
    predicted_iou: FloatArray
    """(N,) float32, IoU that the decoder predicts."""
    starts: IntArray
    """(N + 1,) int64, first byte of the bitmap in `bits`."""
    bits: UInt8Array
    """Bitmaps row by row, 8 pixels a byte."""

    def __len__(self) -> int:
        return len(self.box)

    @classmethod
    def of(cls, outlines: Iterable[tuple[LocalMask, float] | None]) -> Outlines:
        """Pack the mask and predicted IoU of each object; None for an object without an outline."""
        boxes, scores, bits = [], [], []
        for outline in outlines:
            mask, score = outline or (LocalMask(0, 0, np.zeros((0, 0), dtype=bool)), 0.0)
            rows, cols = mask.slices
            boxes.append((rows.start, cols.start, rows.stop, cols.stop))
            scores.append(score)
            bits.append(np.packbits(mask.bitmap))
        starts = np.cumsum([0, *map(len, bits)], dtype=np.int64)
        box = np.array(boxes, np.int64).reshape(-1, 4)
        return cls(box, np.array(scores, np.float32), starts, np.concatenate([np.zeros(0, np.uint8), *bits]))

    def mask(self, row: int) -> LocalMask:
        """Return the mask of an object, which is empty if it has no outline."""
        r0, c0, r1, c1 = map(int, self.box[row])
        packed = self.bits[self.starts[row] : self.starts[row + 1]]
        bitmap = np.unpackbits(packed, count=(r1 - r0) * (c1 - c0)).astype(bool)
        return LocalMask(r0, c0, bitmap.reshape(r1 - r0, c1 - c0))


class OutlineStore:
    """Outlines on disk, in one file for the objects of each block or large component.

    Args:
        folder: Folder of the files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of_result(cls, result: Path, settings: str) -> OutlineStore:
        """Return the outlines of a result for one set of settings, by its name."""
        return cls(result / "block_outlines" / settings)

    def has(self, name: str) -> bool:
        """Return True if the outlines of a block or component have been written."""
        return (self.folder / name).exists()

    def write(self, name: str, outlines: Outlines) -> None:
        """Write outlines; if another process was faster, keep those.

        Raises:
            StorageError: If the disk is full or the folder is gone.
        """
        with new_folder(self.folder / name) as folder:
            folder.mkdir()
            np.savez(
                folder / "outlines.npz",
                box=outlines.box,
                predicted_iou=outlines.predicted_iou,
                starts=outlines.starts,
                bits=outlines.bits,
            )

    def read(self, name: str) -> Outlines:
        """Read outlines.

        Raises:
            StorageError: If the file is damaged.
        """
        path = self.folder / name
        try:
            with (path / "outlines.npz").open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                outlines = Outlines(file["box"], file["predicted_iou"], file["starts"], file["bits"])
            sizes = (outlines.box[:, 2:] - outlines.box[:, :2]).prod(axis=1)
            if not (np.diff(outlines.starts) == -(-sizes // 8)).all() or outlines.starts[-1] != len(
                outlines.bits
            ):
                raise ValueError("its sizes do not match")
        except (OSError, ValueError, KeyError, IndexError, BadZipFile) as error:
            raise StorageError(
                f"'{path}' cannot be read ({error}); delete it and run the same command again."
            ) from error
        return outlines
