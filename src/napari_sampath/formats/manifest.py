"""`classes.json`: the list of exported files in a folder, with the classes of each image.

    {"schema_version": 1,
     "images": {"slide 7": {"height": 1000, "width": 1200,
                            "classes": [{"id": 1, "name": "tumour", "color": [230, 60, 60]}],
                            "files": {"classes": ["slide 7_classes.png", "slide 7_classes.tif"],
                                      "instances": ["slide 7_instances.png", "slide 7_instances.tif"],
                                      "details": ["slide 7_details.json"],
                                      "earlier": ["slide 7_objects.geojson"]},
                            "digest": "0f3a..."}}}

"earlier" lists files that the last export did not replace. "digest" identifies the pixels of the image. If two images
have the same name, the key of the second ends with a number, and "image" is its name. "stem" is the start of all file
names if it is not `file_stem` of the key. Files of earlier versions lack these members.

All files of an image use the same object numbers: those of the session, or 1, 2, 3 ... in the same order if one of the
files is a PNG and a number exceeds 65,535. Each image has its own class list, so that a later export with other classes
does not change the meaning of earlier files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from ..arrays import ClassInfo
from ..errors import ImageError
from ..files import (
    Write,
    convert,
    file_stem,
    free_name,
    is_stem_of,
    locked,
    name_key,
    read_json,
    settle,
    write_together,
)
from ..files.json_reader import Range
from ..files.json_writer import to_json
from .labels import DETAILS, KINDS, WHOLE, stem_of

MANIFEST = "classes.json"
SCHEMA_VERSION = 1
LOCK_S = 60.0
"""How long an export waits for another export into the same folder, in seconds."""
_MAX_FOLDERS = 10_000
EARLIER = "earlier"
"""Kind of the files that the last export of an image did not replace."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The entry of one image in `classes.json`."""

    hw: tuple[int, int]
    """Size (H, W) of the label maps."""
    classes: tuple[ClassInfo, ...]
    """The classes of the image."""
    files: dict[str, list[str]]
    """Kind ("classes", "instances", "objects" for both, "details") -> names of files with the same content."""
    stem: str = ""
    """Start of the names of all files."""
    image: str = ""
    """Name of the image."""
    digest: str = ""
    """Hexadecimal digest of the pixels of the image; empty if unknown."""

    def holds(self, file: str, kind: str | None = None) -> bool:
        """Return True if a file of this name belongs to the image, is up to date and, if given, of this kind."""
        kinds = [other for other in self.files if other != EARLIER and kind in (None, other)]
        return any(name_key(file) == name_key(name) for other in kinds for name in self.files[other])


def find(entries: Mapping[str, Entry], name: str, digest: str = "") -> str | None:
    """Return the key of the entry of an image; None if there is none.

    Args:
        entries: The entries of a folder.
        name: Name of the image.
        digest: Digest of its pixels, which finds a renamed image, and one of several images of the same name.
    """
    same_name = [key for key, entry in entries.items() if name_key(entry.image) == name_key(name)]
    same_pixels = [key for key, entry in entries.items() if digest and entry.digest == digest]
    both = [key for key in same_name if key in same_pixels]
    return next(iter([*both, *same_pixels, *(key for key in entries if key == name), *same_name]), None)


def find_same(entries: Mapping[str, Entry], name: str, digest: str, hw: tuple[int, int]) -> str | None:
    """Return the key of the entry that a new export of an image replaces; None if there is none.

    Without a digest, an image of the same name and size is taken for the same image.
    """
    same_name = {key: entry for key, entry in entries.items() if name_key(entry.image) == name_key(name)}
    same_pixels = [key for key, entry in same_name.items() if digest and entry.digest == digest]
    unknown = [key for key, e in same_name.items() if not (digest and e.digest) and e.hw == hw]
    return next(iter([*same_pixels, *unknown]), None)


def owner(entries: Mapping[str, Entry], file: str) -> str | None:
    """Return the key of the entry that an exported file belongs to; None if it is not listed or out of date."""
    return next((key for key, entry in entries.items() if entry.holds(file)), None)


def write_label_map(
    files: Mapping[Path, Write],
    path: Path,
    kind: str,
    image: str,
    hw: tuple[int, int],
    classes: Sequence[ClassInfo],
    digest: str = "",
) -> str | None:
    """Write a single label map together with the `classes.json` in its folder, which states its classes.

    Args:
        files: Path -> function that writes its content, for the label map and files that belong to it.
        path: The label map.
        kind: "classes" or "instances".
        image: Name of the image.
        hw: Size (H, W) of the image.
        classes: The classes of the image, without the background.
        digest: See `Entry.digest`.

    Returns:
        A sentence if the folder has a `classes.json` of another program, which is left as it is; otherwise None.

    Raises:
        StorageError: If a file cannot be written; nothing has changed.
    """
    manifest = path.parent / MANIFEST
    with locked(manifest, LOCK_S):
        try:
            entries = load(manifest)
        except ImageError as error:
            write_together(files)
            return f"The classes of '{path}' were not stored: {error}"
        key = owner(entries, path.name) or free_name(image, entries)
        by_kind = {other: [path.name] if other == kind else [] for other in KINDS}
        entries[key] = Entry(hw, tuple(classes), by_kind, path.stem, image, digest)
        content = dump(entries)
        write_together({**files, manifest: lambda stream: stream.write(content)})
    return None


def dump(entries: Mapping[str, Entry]) -> bytes:
    """Encode a `classes.json`."""
    images = {
        name: {
            "height": entry.hw[0],
            "width": entry.hw[1],
            "classes": [asdict(info) for info in entry.classes],
            "files": {kind: entry.files.get(kind, []) for kind in KINDS}
            | {kind: names for kind, names in entry.files.items() if names},
            **({"stem": entry.stem} if entry.stem != file_stem(name) else {}),
            **({"image": entry.image} if entry.image != name else {}),
            **({"digest": entry.digest} if entry.digest else {}),
        }
        for name, entry in entries.items()
    }
    content = {"schema_version": SCHEMA_VERSION, "images": images}
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")


def load(path: Path) -> dict[str, Entry]:
    """Read a `classes.json`, after completing an interrupted export into its folder.

    Returns:
        Entries by name of the image; empty if the file does not exist.

    Raises:
        ImageError: If it is damaged, or was written by another program or a newer version.
        StorageError: If an interrupted export cannot be completed.
    """
    settle(path.parent)
    try:
        content = read_json(path)
        version = content["schema_version"]
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise ImageError(
                f"'{path}' has schema version {version}, this version reads up to {SCHEMA_VERSION}; update "
                "napari-sampath."
            )
        images: dict[str, _Stored] = convert(content["images"], dict[str, _Stored], "images")
        return {name: _entry(name, stored) for name, stored in images.items()}
    except FileNotFoundError:
        return {}
    except ImageError:
        raise
    except OSError as error:
        raise ImageError(f"'{path}' cannot be opened ({error.strerror}); check the file.") from error
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ImageError(
            f"'{path}' is damaged or made by another program; move it away, or use another folder."
        ) from error


def manifests_below(folder: Path) -> list[Path]:
    """Return the `classes.json` files in the subfolders of a folder.

    Hidden folders, Zarr folders and links are not searched, and at most `_MAX_FOLDERS` folders are.
    """
    files: list[Path] = []
    for number, (parent, folders, names) in enumerate(os.walk(folder)):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and not name.endswith(".zarr")
        )
        if MANIFEST in names and number:
            files.append(Path(parent, MANIFEST))
        if number == _MAX_FOLDERS:
            break
    return files


def class_lists(folder: Path) -> list[tuple[ClassInfo, ...]]:
    """Return the different class lists of the images exported to a folder; none if it has no export."""
    try:
        return list(dict.fromkeys(entry.classes for entry in load(folder / MANIFEST).values()))
    except ImageError:  # It is the file of another program.
        return []


def dump_details(details: Mapping[int, Mapping[str, Any]]) -> bytes:
    """Encode the details of objects, by object number."""
    objects = {str(number): dict(values) for number, values in details.items()}
    return to_json({"schema_version": SCHEMA_VERSION, "objects": objects}).encode("utf-8", "surrogatepass")


def load_details(path: Path) -> dict[int, dict[str, Any]]:
    """Read the details of objects; the inverse of `dump_details`.

    Raises:
        ImageError: If the file is damaged.
    """
    try:
        content = read_json(path)
        return {int(number): dict(values) for number, values in content["objects"].items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise ImageError(
            f"'{path}' is damaged; delete it to import the label maps without details."
        ) from error


_MAX_NAME_BYTES = 255
_Side = Annotated[int, Range(1, 2**31 - 1)]


@dataclass(frozen=True, slots=True)
class _Stored:
    """An entry as it is stored."""

    height: _Side
    width: _Side
    classes: tuple[ClassInfo, ...]
    files: dict[str, list[str]]
    stem: str = ""
    image: str = ""
    digest: str = ""


def _entry(name: str, stored: _Stored) -> Entry:
    files = {kind: stored.files.get(kind, []) for kind in (*KINDS, WHOLE, DETAILS, EARLIER)}
    listed = [file for names in files.values() for file in names]
    for file in listed:
        parts = Path(file).parts
        too_long = any(len(part.encode("utf-8", "replace")) > _MAX_NAME_BYTES for part in parts)
        if not parts or Path(file).is_absolute() or ".." in parts or set(file) & set("\\\0") or too_long:
            raise ValueError(f"{file[:40]} is not the name of a file in this folder")
    # Earlier versions stored no stem, and encoded more characters in file names.
    stems = [stem for stem in map(stem_of, listed) if stem is not None and is_stem_of(stem, name)]
    stem = stored.stem or next(iter(stems), file_stem(name))
    if Path(stem).name != stem or "\\" in stem:
        raise ValueError(f"{stem} is not the start of a file name")
    for info in stored.classes:
        if not all(0 <= value <= 255 for value in (info.id, *info.color)):
            raise ValueError(f"the class {info.name} has an id or a colour outside 0..255")
    return Entry(
        (stored.height, stored.width), stored.classes, files, stem, stored.image or name, stored.digest
    )
