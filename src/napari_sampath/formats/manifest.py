"""`classes.json`: which label files lie in a folder, of which images, and what their numbers mean.

    {"schema_version": 1,
     "images": {"slide 7": {"height": 1000, "width": 1200,
                            "classes": [{"id": 1, "name": "tumour", "color": [230, 60, 60]}],
                            "files": {"classes": ["slide 7_classes.png", "slide 7_classes.tif"],
                                      "instances": ["slide 7_instances.png", "slide 7_instances.tif"],
                                      "details": ["slide 7_details.json"]}}}}

All files of an image tell its objects apart by the same numbers. Those are the numbers that the objects have while they
are annotated, unless PNG is among the files and one is above 65,535: then it is 1, 2, 3 ... in their order.

Every image has a class list of its own, so that a later export with other classes does not change what earlier
files mean.
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
from .foreign import load_json
from .labels import DETAILS, KINDS, WHOLE

MANIFEST = "classes.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """What `classes.json` says of one image."""

    hw: tuple[int, int]
    """Size (H, W) of its label maps."""
    classes: tuple[ClassInfo, ...]
    """Its classes."""
    files: dict[str, list[str]]
    """"classes", "instances", "objects" (both in one file), "details" -> names in the folder, copies of each other."""

    def holds(self, file: str) -> bool:
        """Say whether a file of this name is one of the image's."""
        return any(file in names for names in self.files.values())


def dump(entries: dict[str, Entry]) -> bytes:
    """Write the content of `classes.json`."""
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
        ImageError: If it is damaged, of another program, or of a newer version.
    """
    try:
        content = json.loads(path.read_bytes().decode("utf-8", "surrogatepass"))
        version = content["schema_version"]
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise ImageError(
                f"'{path}' has schema version {version}, this program knows up to {SCHEMA_VERSION}; update "
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
            f"'{path}' is damaged or of another program; move it away, or use another folder."
        ) from error


def dump_details(details: Mapping[int, Mapping[str, Any]]) -> bytes:
    """Write what is known of objects, by their numbers in the label maps."""
    objects = {str(number): dict(known) for number, known in details.items()}
    return json.dumps({"schema_version": SCHEMA_VERSION, "objects": objects}, ensure_ascii=False).encode(
        "utf-8", "surrogatepass"
    )


def load_details(path: Path) -> dict[int, dict[str, Any]]:
    """Read what `dump_details` wrote.

    Raises:
        ImageError: If it is damaged.
    """
    content = load_json(path)
    try:
        return {int(number): dict(known) for number, known in content["objects"].items()}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ImageError(f"'{path}' is damaged; delete it to import the label maps without it.") from error


def _entry(values: dict[str, Any]) -> Entry:
    files = {kind: [str(name) for name in values["files"][kind]] for kind in KINDS}
    for kind in (WHOLE, DETAILS):
        files[kind] = [str(name) for name in values["files"].get(kind, [])]
    for name in chain.from_iterable(files.values()):
        if Path(name).name != name:
            raise ValueError(f"{name} is not in this folder")
    classes = []
    for info in values["classes"]:
        red, green, blue = (int(part) for part in info["color"])
        classes.append(ClassInfo(int(info["id"]), str(info["name"]), (red, green, blue)))
    return Entry((int(values["height"]), int(values["width"])), tuple(classes), files)
