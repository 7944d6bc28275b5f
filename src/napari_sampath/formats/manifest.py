"""`classes.json`: the list of exported files in a folder, with the classes of each image.

    {"schema_version": 1,
     "images": {"slide 7": {"height": 1000, "width": 1200,
                            "classes": [{"id": 1, "name": "tumour", "color": [230, 60, 60]}],
                            "files": {"classes": ["slide 7_classes.png", "slide 7_classes.tif"],
                                      "instances": ["slide 7_instances.png", "slide 7_instances.tif"],
                                      "details": ["slide 7_details.json"]}}}}

All files of an image use the same object numbers: those of the session, or 1, 2, 3 ... in the same order if one of the
files is a PNG and a number exceeds 65,535. Each image has its own class list, so that a later export with other classes
does not change the meaning of earlier files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from ..arrays import ClassInfo
from ..errors import ImageError
from ..files import read_json
from .labels import DETAILS, KINDS, WHOLE

MANIFEST = "classes.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """The entry of one image in `classes.json`."""

    hw: tuple[int, int]
    """Size (H, W) of the label maps."""
    classes: tuple[ClassInfo, ...]
    """The classes of the image."""
    files: dict[str, list[str]]
    """Kind ("classes", "instances", "objects" for both, "details") -> names of files with the same content."""

    def holds(self, file: str) -> bool:
        """Return True if a file of this name belongs to the image."""
        return any(file in names for names in self.files.values())


def dump(entries: dict[str, Entry]) -> bytes:
    """Encode a `classes.json`."""
    images = {
        name: {
            "height": entry.hw[0],
            "width": entry.hw[1],
            "classes": [asdict(info) for info in entry.classes],
            "files": {kind: names for kind, names in entry.files.items() if names or kind in KINDS},
        }
        for name, entry in entries.items()
    }
    content = {"schema_version": SCHEMA_VERSION, "images": images}
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")


def load(path: Path) -> dict[str, Entry]:
    """Read a `classes.json`.

    Returns:
        Name of the image -> its entry; empty if the file does not exist.

    Raises:
        ImageError: If it is damaged, or was written by another program or a newer version.
    """
    try:
        content = json.loads(path.read_bytes().decode("utf-8", "surrogatepass"))
        version = content["schema_version"]
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise ImageError(
                f"'{path}' has schema version {version}, this version reads up to {SCHEMA_VERSION}; update "
                "napari-sampath."
            )
        return {str(name): _entry(values) for name, values in content["images"].items()}
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


def dump_details(details: Mapping[int, Mapping[str, Any]]) -> bytes:
    """Encode the details of objects, by object number."""
    objects = {str(number): dict(values) for number, values in details.items()}
    return json.dumps({"schema_version": SCHEMA_VERSION, "objects": objects}, ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )


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


def _entry(values: dict[str, Any]) -> Entry:
    files = {kind: [str(name) for name in values["files"][kind]] for kind in KINDS}
    for kind in (WHOLE, DETAILS):
        files[kind] = [str(name) for name in values["files"].get(kind, [])]
    for name in chain.from_iterable(files.values()):
        if Path(name).name != name:
            raise ValueError(f"{name} is not in this folder")
    classes = tuple(ClassInfo.from_json(info) for info in values["classes"])
    return Entry((int(values["height"]), int(values["width"])), classes, files)
