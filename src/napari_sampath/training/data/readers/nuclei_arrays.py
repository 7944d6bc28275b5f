"""Datasets of nuclei as arrays: the folders from which HoVer-Net and CellViT are trained."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ....arrays import ClassInfo, IntArray
from ....errors import DatasetError
from ....files import JsonError, read_json
from ....formats.labels import default_color
from ....images import IMAGE_SUFFIXES, read
from ..dataset import Dataset, Item, Sample
from .classes import with_background
from .file_index import split_folders, subfolders, visible_files
from .grouping import Groups, unknown_groups
from .splits import with_splits

_NUCLEUS = ClassInfo(1, "nucleus", default_color(1))
_FOLDS = {"fold0": "train", "fold1": "val", "fold2": "test"}
"""Fold of CellViT -> split, unless `index.csv` states another one."""
_MAPS = "inst_map", "type_map"
"""Keys of the label files of CellViT."""
_MALFORMED = (OSError, ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)
"""Errors of files with other content."""


def open_hovernet(folder: Path, rows: Sequence[Mapping[str, str]] = ()) -> Dataset | None:
    """Open a folder of HoVer-Net: `train/`, `valid/` or `test/` with one array for each patch.

    An array (H, W, 5) has red, green, blue, object number and type; one of (H, W, 4) has no types. `type_info.json`
    names the types.

    Args:
        folder: The folder.
        rows: Rows of `index.csv`, with the columns `name`, `group`, `split` and `mpp`.

    Returns:
        The dataset; None if the folder has another layout.

    Raises:
        DatasetError: If a file is malformed.
    """
    files = [(path, split) for part, split in split_folders(folder) for path in sorted(part.rglob("*.npy"))]
    if not files:
        return None
    try:
        shape = _patch(files[0][0]).shape
    except DatasetError:
        if (folder / "type_info.json").is_file():
            raise
        return None
    if len(shape) != 3 or shape[2] not in (4, 5):
        return None
    typed = shape[2] == 5
    classes = _hovernet_types(folder, [path for path, _ in files]) if typed else [_NUCLEUS]
    load = partial(_load_patch, channels=shape[2])
    return _dataset(folder, rows, classes, [(path, path, split) for path, split in files], load)


def open_cellvit(folder: Path, rows: Sequence[Mapping[str, str]] = ()) -> Dataset | None:
    """Open a folder of CellViT: `fold0/images/NAME.png`, `fold0/labels/NAME.npy` ..., and `dataset_config.yaml`.

    Args:
        folder: The folder.
        rows: Rows of `index.csv`; without it, `fold0` is used for training, `fold1` for validation, `fold2` for tests.

    Returns:
        The dataset; None if the folder has another layout.

    Raises:
        DatasetError: If the list of types is missing or malformed.
    """
    files = []
    for name, fold in subfolders(folder).items():
        if name.startswith("fold") and any((fold / "labels").glob("*.npy")):
            images = [p for p in visible_files(fold / "images") if p.suffix.lower() in IMAGE_SUFFIXES]
            files += [(p, fold / "labels" / f"{p.stem}.npy", _FOLDS.get(name, "train")) for p in images]
    if not files:
        return None
    return _dataset(folder, rows, _cellvit_types(folder / "dataset_config.yaml"), files, _load_cellvit)


def _dataset(
    folder: Path,
    rows: Sequence[Mapping[str, str]],
    listed: Sequence[ClassInfo],
    files: Sequence[tuple[Path, Path, str]],
    load: Callable[[Sample], Item],
) -> Dataset:
    groups = Groups(folder, rows)
    samples = [
        Sample(
            image.stem,
            image,
            labels,
            groups.group(image) or image.stem,
            groups.split(image) or split,
            load=load,
        )
        for image, labels, split in files
    ]
    note = "" if all(groups.group(image) for image, _, _ in files) else unknown_groups(folder)
    classes = with_background(listed)
    values = {info.id: info.id for info in classes}
    return Dataset(folder.name, tuple(with_splits(samples)), classes, values, note=note)


def _hovernet_types(folder: Path, files: Sequence[Path]) -> list[ClassInfo]:
    """Read the types of `type_info.json`; without it, list those of the arrays."""
    path = folder / "type_info.json"
    if not path.is_file():
        numbers = sorted({int(n) for file in files for n in np.unique(_channels(file, 5)[..., 4])} - {0})
        return [ClassInfo(number, f"type {number}", default_color(number)) for number in numbers]
    try:
        entries = {int(number): entry for number, entry in read_json(path).items()}
        return [
            ClassInfo(n, str(name), (int(color[0]), int(color[1]), int(color[2])))
            for n, (name, color) in entries.items()
            if n
        ]
    except (JsonError, *_MALFORMED) as error:
        raise DatasetError(
            f"'{path}' cannot be read ({error}); it must have the name and the colour of each type number."
        ) from error


def _cellvit_types(path: Path) -> list[ClassInfo]:
    import yaml

    try:
        types = yaml.safe_load(path.read_text("utf-8"))["nuclei_types"]
        numbers = {int(number): str(name) for name, number in types.items()}
    except (yaml.YAMLError, *_MALFORMED) as error:
        raise DatasetError(
            f"'{path}' cannot be read ({error}); it must list nuclei_types with their numbers."
        ) from error
    return [ClassInfo(number, name, default_color(number)) for number, name in numbers.items() if number]


def _patch(path: Path) -> IntArray:
    """Map an array into memory; files that contain Python objects are refused."""
    try:
        values: IntArray = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, EOFError, OverflowError) as error:
        raise DatasetError(f"'{path}' is not an array of numbers ({error}); export it again.") from error
    return values


def _channels(path: Path, channels: int) -> IntArray:
    """Map an array (H, W, C) of numbers into memory, and check the number of channels C."""
    values = _patch(path)
    if values.ndim != 3 or values.shape[2] != channels or values.dtype.kind not in "iuf":
        raise DatasetError(
            f"'{path}' has the shape {values.shape}, but the others have {channels} channels; export it again."
        )
    return values


def _load_patch(sample: Sample, channels: int) -> Item:
    values = _channels(sample.labels, channels)
    pixels, instances = values[..., :3].astype(np.uint8), values[..., 3].astype(np.int32)
    labels = values[..., 4].astype(np.int32) if channels == 5 else (instances > 0).astype(np.int32)
    return Item(pixels, labels, instances)


def _load_cellvit(sample: Sample) -> Item:
    instances, labels = _maps(sample.labels)
    return Item(read(sample.image).pixels, labels, instances)


_RECONSTRUCT: Any = np.empty(0).__reduce__()[0]


def _empty_array(*_: object) -> Any:
    """Make the array that is filled next; with the stored arguments, it could have any size."""
    return _RECONSTRUCT(np.ndarray, (0,), b"b")


def _latin1(text: str, encoding: str) -> bytes:
    """Encode bytes that were stored as text; with other encodings, a short text could become a very long one."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it contains text in the encoding {encoding!r}")
    return text.encode("latin1")


_HARMLESS: Mapping[tuple[str, str], Any] = {
    ("numpy", "ndarray"): None,  # An argument that is not used.
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _empty_array,
    ("numpy._core.multiarray", "_reconstruct"): _empty_array,
    ("_codecs", "encode"): _latin1,
}
"""(module, name) in pickled arrays -> what is used instead; all arrays are then as large as their stored values."""


class _ArraysOnly(pickle.Unpickler):
    """Unpickler that makes numpy arrays and plain values only, so that a file cannot run a program."""

    def find_class(self, module: str, name: str) -> Any:
        """Return an allowed function or type; any other one raises `UnpicklingError`."""
        try:
            return _HARMLESS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it contains {module}.{name}") from None


def _maps(path: Path) -> tuple[IntArray, IntArray]:
    """Read instance map and type map (H, W) of a label file, which is a pickled dictionary."""
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else None
            (header or np.lib.format.read_array_header_2_0)(file)
            content = _ArraysOnly(file).load()[()]
        instances, types = maps = [content[key] for key in _MAPS]
        if any(not isinstance(values, np.ndarray) or values.dtype.kind not in "iuf" for values in maps):
            raise ValueError("its maps are not arrays of numbers")
        if instances.ndim != 2 or instances.shape != types.shape:
            raise ValueError(f"its maps have the shapes {instances.shape} and {types.shape}")
    except (pickle.UnpicklingError, EOFError, MemoryError, *_MALFORMED) as error:
        raise DatasetError(
            f"'{path}' cannot be read ({error}); it must be a dictionary with inst_map and type_map."
        ) from error
    return instances.astype(np.int32), types.astype(np.int32)
