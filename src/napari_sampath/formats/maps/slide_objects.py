"""The objects in the result of a slide: those of each block while the run lasts, then a table and an instance map.

RESULT.ome.zarr/
block_objects/SETTINGS/3_7/     the objects that block 3, 7 found; renamed into place when it is complete
numbers                     uint32, number of the object at each pixel of the block and its margin
edges/top ...               components at the four edges of the block
table/class_id ...          one array per column
objects/                        written last; attributes "sampath": settings of the objects
numbers/0 ... 4             number of the object at each pixel, uint32 (NGFF 0.5)
table/class_id ...          row i describes object i + 1
table/predicted_iou         only with outlines of the prompt decoder, see `slide_outlines`
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from zipfile import BadZipFile

import numpy as np

from ...errors import StorageError, first_line
from ...files import LEFTOVER_S, JsonError, read_json
from ...files.locks import lock_descriptor
from ...files.messages import storage_error

if TYPE_CHECKING:
    import numpy.typing as npt

    from ...arrays import BoolArray, FloatArray, IntArray, UInt8Array

EDGES = ("top", "bottom", "left", "right")
_CHUNK_PX = 1024
_CHUNK_ROWS = 2**16
_ZARR: Literal[3] = 3
"""Version of Zarr; version 2 has filters that unpickle objects, which can run a program."""


@dataclass(frozen=True, slots=True, eq=False)
class ObjectTable:
    """Properties of N objects, in pixels of the result."""

    class_id: UInt8Array
    """(N,) uint8"""
    score: FloatArray
    """(N,) float32, mean probability of the class, 0..1."""
    area_px: IntArray
    """(N,) int64"""
    box: IntArray
    """(N, 4) int64, (r0, c0, r1, c1); r1 and c1 are exclusive."""
    first_rc: IntArray
    """(N, 2) int64, (row, col) of the first pixel in reading order."""

    def __len__(self) -> int:
        return len(self.class_id)

    @classmethod
    def of_rows(cls, rows: list[tuple[int, float, int, tuple[int, ...], tuple[int, ...]]]) -> ObjectTable:
        """Make a table of rows (class id, score, area, box, first pixel)."""
        class_id, score, area, box, first = zip(*rows, strict=True) if rows else ((), (), (), (), ())
        return cls(
            np.array(class_id, np.uint8),
            np.array(score, np.float32),
            np.array(area, np.int64),
            np.array(box, np.int64).reshape(-1, 4),
            np.array(first, np.int64).reshape(-1, 2),
        )

    def take(self, rows: BoolArray | IntArray) -> ObjectTable:
        """Return a table with the selected rows."""
        return ObjectTable(*(getattr(self, field.name)[rows] for field in fields(self)))

    def joined(self, *others: ObjectTable) -> ObjectTable:
        """Return a table with the rows of others after its own."""
        return ObjectTable(
            *(
                np.concatenate([getattr(table, field.name) for table in (self, *others)])
                for field in fields(self)
            )
        )


@dataclass(frozen=True, slots=True, eq=False)
class BlockObjects:
    """The objects, and pieces of objects, that one block of a slide contains."""

    origin_rc: tuple[int, int]
    """First pixel of `numbers` in the result."""
    numbers: npt.NDArray[np.uint32]
    """(h, w), row of the table + 1 at each pixel of the block and its margin; 0 elsewhere."""
    table: ObjectTable
    """Whole objects and pieces."""
    is_piece: BoolArray
    """(N,) True for the part in this block of a component that extends beyond the window of the block."""
    edges: Mapping[str, IntArray]
    """Edge of the block -> (L,) int64: row + 1 of a piece, -(class id) of a component inside the window, or 0."""


class BlockObjectStore:
    """The objects of the blocks of a result, for one set of settings.

    Args:
        result: Folder of the result.
        settings: Name of the settings; others get another folder.
    """

    def __init__(self, result: Path, settings: str) -> None:
        self.path = result / "block_objects" / settings

    def has(self, name: str) -> bool:
        """Return True if a block has been written."""
        return (self.path / name).exists()

    def write(self, name: str, objects: BlockObjects) -> None:
        """Write the objects of a block; if another process was faster, keep those.

        Raises:
            StorageError: If the disk is full or the folder is gone.
        """
        import zarr

        arrays: dict[str, Any] = {f"edge_{edge}": values for edge, values in objects.edges.items()}
        arrays |= {field.name: getattr(objects.table, field.name) for field in fields(ObjectTable)}
        arrays |= {"origin_rc": np.array(objects.origin_rc), "is_piece": objects.is_piece}
        with new_folder(self.path / name) as folder:
            shape = objects.numbers.shape
            numbers = zarr.create_array(
                folder / "numbers", shape=shape, chunks=(_CHUNK_PX,) * 2, dtype="uint32"
            )
            numbers[:] = objects.numbers
            np.savez(folder / "table.npz", **arrays)

    def read(self, name: str) -> BlockObjects:
        """Read the objects of a block; its `numbers` are read when they are sliced.

        Raises:
            StorageError: If the file is damaged.
        """
        import zarr

        folder = self.path / name
        try:
            with np.load(folder / "table.npz", allow_pickle=False) as file:
                row, col = map(int, file["origin_rc"])
                table = ObjectTable(*(file[field.name] for field in fields(ObjectTable)))
                edges = {edge: file[f"edge_{edge}"] for edge in EDGES}
                is_piece = file["is_piece"]
            numbers: Any = zarr.open_array(folder / "numbers", mode="r", zarr_format=_ZARR)
        except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
            raise StorageError(
                f"'{folder}' cannot be read ({error}); delete it and run the same command again."
            ) from error
        return BlockObjects((row, col), numbers, table, is_piece, edges)


class SlideObjects:
    """The objects of a complete result; see `objects_of`.

    Attributes:
        table: Their properties; row i describes object i + 1.
        predicted_iou: (N,) float32, IoU that the decoder predicts for its outline, NaN if the outline is the head's;
            None if the decoder was not asked.
    """

    def __init__(self, path: Path) -> None:
        import zarr

        self._path = path
        root = zarr.open_group(path, mode="r", zarr_format=_ZARR)
        self.table = ObjectTable(*(np.asarray(root[f"table/{field.name}"]) for field in fields(ObjectTable)))
        scores = root.get("table/predicted_iou")
        self.predicted_iou: FloatArray | None = None if scores is None else np.asarray(scores)
        self._numbers = root["numbers"]

    def numbers(self, box: tuple[int, int, int, int], level: int = 0) -> npt.NDArray[np.uint32]:
        """Read the numbers of the objects in a box (r0, c0, r1, c1) of a level; 0 where there is none.

        Raises:
            StorageError: If they cannot be read.
        """
        r0, c0, r1, c1 = box
        try:
            values: npt.NDArray[np.uint32] = np.asarray(self._numbers[str(level)][r0:r1, c0:c1])  # type: ignore[index,call-overload]
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise _damaged(self._path, error) from error
        return values


def objects_of(result: Path) -> SlideObjects | None:
    """Return the objects of a result; None if they have not been separated.

    Raises:
        StorageError: If they are damaged.
    """
    path = result / "objects"
    if not path.exists():
        return None
    try:
        return SlideObjects(path)
    except Exception as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> StorageError:
    return StorageError(
        f"'{path}' cannot be read ({first_line(error)}); delete it, and separate the objects again."
    )


def objects_settings(result: Path) -> str | None:
    """Return the name of the settings of the objects of a result; None if there are none."""
    try:
        settings: str = read_json(result / "objects" / "zarr.json")["attributes"]["sampath"]["settings"]
        return settings
    except (OSError, JsonError, KeyError, TypeError):
        return None


@contextlib.contextmanager
def new_folder(path: Path, is_outdated: Callable[[], bool] = lambda: False) -> Iterator[Path]:
    """Create a temporary folder, and rename it when it is complete.

    Args:
        path: The folder. If it exists at the end, it is kept.
        is_outdated: Returns whether a folder that exists at the end is replaced.

    Raises:
        StorageError: If it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        with _locked_beside(temporary):
            yield temporary
            if path.exists() and is_outdated():
                old = temporary.with_suffix(".old")
                with contextlib.suppress(FileNotFoundError):  # Another process replaced it at the same time.
                    os.rename(path, old)
                shutil.rmtree(old, ignore_errors=True)
            try:
                os.rename(temporary, path)
            except OSError:
                if not path.exists():
                    raise
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _locked_beside(temporary: Path) -> Iterator[None]:
    """Hold the lock of a temporary folder, on a file beside it, which ends with the process."""
    lock = temporary.with_suffix(".lock")
    try:
        while True:
            with open(lock, "wb") as stream:
                lock_descriptor(stream.fileno(), timeout_s=1.0)
                if lock.exists():  # Otherwise another process took it for a leftover before it was locked.
                    yield
                    return
    finally:
        with contextlib.suppress(OSError):
            lock.unlink(missing_ok=True)


def _remove_leftovers(path: Path) -> None:
    """Delete the temporary folders that killed processes left; by their age where the file system has no locks."""
    for leftover in path.parent.glob(f".{path.name}.*"):
        with contextlib.suppress(OSError):  # Its process is alive and has renamed or deleted it.
            lock = leftover.with_suffix(".lock")
            is_over = leftover.stat().st_mtime < time.time() - LEFTOVER_S
            with open(lock, "rb") if lock.exists() else contextlib.nullcontext() as stream:
                is_free = None if stream is None else lock_descriptor(stream.fileno())
                if is_over if is_free is None else is_free:
                    shutil.rmtree(leftover, ignore_errors=True)
                    if leftover.suffix == ".lock":
                        shutil.rmtree(leftover.with_suffix(".part"), ignore_errors=True)
                        leftover.unlink()


def write_table(root: Any, table: ObjectTable, predicted_iou: FloatArray | None = None) -> None:
    """Write a table into a group, an array per column; with the predicted IoU if the decoder was asked."""
    columns = {field.name: getattr(table, field.name) for field in fields(table)}
    if predicted_iou is not None:
        columns["predicted_iou"] = predicted_iou
    for name, values in columns.items():
        chunks = (_CHUNK_ROWS, *values.shape[1:])
        array = root.create_array(f"table/{name}", shape=values.shape, dtype=values.dtype, chunks=chunks)
        if values.size:
            array[:] = values
