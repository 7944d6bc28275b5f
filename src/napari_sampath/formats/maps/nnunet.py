"""nnU-Net v2: `imagesTr`, `labelsTr` and `dataset.json`.

https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/dataset_format.md. An RGB image is one PNG with the channel
number 0000. Labels must be consecutive: a label is the class number, 0 is the background, and numbers that no class has
are declared as "unused N". A class with a name that has a meaning there, such as "ignore", is written as
"ignore (class 2)". Objects are not stored, only classes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ImageError, refuse
from ...files import JsonError, read_json
from ...files.messages import plural
from ..class_numbers import FileClass, add_to_table, merge_names
from ..foreign import choose_image, other_name
from ..format import Export, Format, Output, ReadOptions
from ..labels import Labels
from ..source import Source
from .label_images import read_map
from .pixels import write_png

_FOLDER = "nnUNet_raw/Dataset001_sampath"
_DATASET = "dataset.json"
_IMAGES, _LABELS = "imagesTr", "labelsTr"
_BACKGROUND = "background"
_IGNORE = "ignore"
"""Name of the label that training ignores, for pixels without annotation ("documentation/ignore_label.md")."""
_RESERVED = re.compile(rf"(?:{_BACKGROUND}|{_IGNORE}|unused \d+)(?: \(class \d+\))*")
"""Names of labels that are not classes, and the names that replace these."""
_CHANNELS = {"0": "R", "1": "G", "2": "B"}
_CHANNEL = "_0000"
_READABLE = (".png", ".bmp", ".tif", ".tiff")


def recognises(source: Source) -> bool:
    """Return True for a dataset folder, its `dataset.json`, or a file in its `labelsTr`."""
    root = _root(source.path)
    return root is not None and (root / _DATASET).is_file() and (root / _LABELS).is_dir()


def read(source: Source, options: ReadOptions) -> Labels:
    """Read the label map of one case.

    Raises:
        ImageError: If a file is damaged, or has another size than the image.
        UnknownNameError: If there is no case of that name.
    """
    root = _root(source.path)
    if root is None:
        refuse(source.path, "is not in an nnU-Net dataset", "give its dataset.json")
    image_name = None if options.image_name is None else _without_channel(options.image_name)
    labels, ending = _read_dataset(root / _DATASET)
    if ending not in _READABLE:
        refuse(
            root / _DATASET,
            f"has labels in '{ending}' files",
            f"convert them to one of {', '.join(_READABLE)}",
        )
    file = source.path
    if file.parent.name != _LABELS:
        files = sorted(f for f in (root / _LABELS).glob(f"*{ending}") if not f.name.startswith("._"))
        if not files:
            refuse(root / _LABELS, f"has no '{ending}' files", "check the dataset")
        names = [f.name.removesuffix(ending) for f in files]
        file = files[choose_image(names, image_name, root)]
    values = read_map(file, options).values
    listed = [
        FileClass(_class_name(name, value), value)
        for name, value in labels.items()
        if value and name not in (f"unused {value}", _IGNORE)
    ]
    table = add_to_table((), listed, str(root / _DATASET))
    ids = {0: 0} | {
        item.number: number for item, number in zip(listed, table.numbers, strict=True) if item.number
    }
    ignored = values == labels[_IGNORE] if _IGNORE in labels else None
    if ignored is not None:
        ids[labels[_IGNORE]] = 0
    unknown = [int(value) for value in np.unique(values) if int(value) not in ids]
    if unknown:
        refuse(file, f"has the value {unknown[0]}, which {_DATASET} does not list", "add it there")
    lookup = np.zeros(max(ids) + 1, dtype=np.uint8)
    for value, class_id in ids.items():
        lookup[value] = class_id
    class_map = lookup[values.astype(np.uint8)]  # Indexing with bool would select.
    notes = table.notes
    if remark := other_name(file.name, image_name):
        notes = (remark, *notes)
    if ignored is not None and ignored.any():
        notes = (*notes, f"Left out: {plural(int(ignored.sum()), 'pixel')} labelled '{_IGNORE}'.")
    instances = np.zeros(class_map.shape, dtype=np.int32)
    return Labels(class_map, instances, table.classes, notes=notes, ignored=ignored)


def write(export: Export) -> list[Output]:
    """Write the image and its class map as a case, and add both to `dataset.json`.

    Raises:
        ImageError: If the image is not at hand, or an earlier export has another class of the same number.
    """
    image, root = export.image, export.folder / _FOLDER
    if image is None:
        raise ImageError(
            "nnU-Net needs the image beside its labels; export from the image, not from a journal."
        )
    cases = {file.name.removesuffix(".png") for file in (root / _LABELS).glob("*.png")} | {export.stem}
    names = _merged_names(root / _DATASET, export, cases - {export.stem})
    dataset = {
        "channel_names": _CHANNELS,
        "labels": label_values(names),
        "numTraining": len(cases),
        "file_ending": ".png",
        "overwrite_image_reader_writer": "NaturalImage2DIO",
    }
    content = (json.dumps(dataset, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")
    class_map = export.labels.class_map
    return [
        Output(
            f"{_FOLDER}/{_IMAGES}/{export.stem}_0000.png", lambda stream: write_png(stream, image), kind=""
        ),
        Output(
            f"{_FOLDER}/{_LABELS}/{export.stem}.png",
            lambda stream: write_png(stream, class_map, np.uint8),
            kind="",
        ),
        Output(f"{_FOLDER}/{_DATASET}", lambda stream: stream.write(content), kind=""),
    ]


def label_values(names: Mapping[int, str]) -> dict[str, int]:
    """Return name -> value of the labels in `dataset.json` for classes with these numbers and names."""
    values = {_BACKGROUND: 0}
    for number in range(1, max(names, default=0) + 1):
        name = names.get(number)
        if name is None:
            name = f"unused {number}"
        elif _RESERVED.fullmatch(name):
            name += _suffix(number)
        values[name] = number
    return values


def _class_name(name: str, number: int) -> str:
    """Remove the suffix that `label_values` adds to reserved names."""
    original = name.removesuffix(_suffix(number))
    return original if _RESERVED.fullmatch(original) else name


def _suffix(number: int) -> str:
    return f" (class {number})"


def _without_channel(name: str) -> str:
    """Remove the channel number of an image file, which the names of labels do not have."""
    path = Path(name)
    return f"{path.stem.removesuffix(_CHANNEL)}{path.suffix}"


def _root(path: Path) -> Path | None:
    """Return the dataset folder of a path."""
    if path.is_dir():
        return path
    if path.name == _DATASET:
        return path.parent
    return path.parent.parent if path.parent.name == _LABELS else None


def _read_dataset(file: Path) -> tuple[dict[str, int], str]:
    """Return the labels by name and the file ending."""
    try:
        content: Any = read_json(file)
        labels = content["labels"]
        if any(isinstance(value, list) for value in labels.values()):
            refuse(
                file, "has regions (labels of several values)", "give a dataset with one value for each label"
            )
        values = {str(name): int(value) for name, value in labels.items()}
        if not all(0 <= value <= 255 for value in values.values()):
            raise ValueError
        return values, str(content.get("file_ending", ".png"))
    except ImageError:
        raise
    except (OSError, JsonError, LookupError, TypeError, ValueError, AttributeError):
        refuse(file, "is not the dataset.json of nnU-Net v2 with labels from 0 to 255", "correct it")


def _merged_names(file: Path, export: Export, stems: set[str]) -> dict[int, str]:
    stored = _read_dataset(file)[0] if file.is_file() else {}
    named = {
        value: _class_name(name, value)
        for name, value in stored.items()
        if value and name != f"unused {value}"
    }
    return merge_names(file, named, export.classes, export.others, stems)


FORMATS = (
    Format(
        "nnunet",
        "nnU-Net v2",
        ("/", ".json", ".png", ".tif", ".tiff"),
        recognises,
        read,
        write=write,
        keeps=frozenset({"class numbers", "class names", "size"}),
        summary="A training dataset with image and class map; labels are class numbers.",
        lost="Separate objects, their numbers and details, and colours are not written.",
    ),
)
