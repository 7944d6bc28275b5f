"""Groups and arrays of a Zarr folder, and their metadata documents."""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import refuse
from ...files import JsonError, read_json

_V3, _V2_ARRAY, _V2_GROUP, _V2_ATTRIBUTES = "zarr.json", ".zarray", ".zgroup", ".zattrs"
_UNUSABLE = re.compile(r"[\x00-\x1f\\\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Node:
    """A group or an array."""

    folder: Path
    array: Mapping[str, Any] | None
    """Metadata of an array: `zarr.json`, or `.zarray`; None for a group."""
    attributes: Mapping[str, Any]

    @classmethod
    def open(cls, folder: Path) -> Node | None:
        """Read the metadata of a folder; None if it is neither a group nor an array.

        Raises:
            ImageError: If the metadata cannot be read.
        """
        if _is_file(folder / _V3):
            content = _document(folder / _V3)
            if content.get("zarr_format") != 3 or content.get("node_type") not in ("array", "group"):
                refuse(folder / _V3, "is not the metadata of an array or group of Zarr 3", "export it again")
            array = content if content["node_type"] == "array" else None
            return cls(folder, array, _mapping(content, "attributes"))
        if not any(_is_file(folder / name) for name in (_V2_ARRAY, _V2_GROUP, _V2_ATTRIBUTES)):
            return None
        array = _document(folder / _V2_ARRAY) if _is_file(folder / _V2_ARRAY) else None
        attributes = _document(folder / _V2_ATTRIBUTES) if _is_file(folder / _V2_ATTRIBUTES) else {}
        return cls(folder, array, attributes)

    def child(self, path: str) -> Node | None:
        """Open a group or array below this one; None if there is none.

        Args:
            path: Relative path with forward slashes.

        Raises:
            ImageError: If the path leaves the folder or contains a link, or the metadata cannot be read.
        """
        folder = self.folder
        parts = path.split("/")
        if _UNUSABLE.search(path) or any(part in ("", ".", "..") or ":" in part for part in parts):
            refuse(self.folder, f"refers to {path[:80]!r}, which is not a path inside it", "export it again")
        for part in parts:
            folder /= part
            try:
                mode = folder.lstat().st_mode
            except OSError:
                return None
            if stat.S_ISLNK(mode):
                refuse(folder, "is a link", "copy the folder that it refers to")
        return Node.open(folder)


def is_zarr(folder: Path) -> bool:
    """Return True if a folder is a group or an array of Zarr."""
    return any(_is_file(folder / name) for name in (_V3, _V2_ARRAY, _V2_GROUP, _V2_ATTRIBUTES))


def _is_file(path: Path) -> bool:
    try:
        return path.exists() or path.is_symlink()
    except (OSError, ValueError):
        return False


def _document(path: Path) -> dict[str, Any]:
    if path.is_symlink():
        refuse(path, "is a link", "copy the file that it refers to")
    try:
        content = read_json(path)
    except JsonError as error:
        refuse(path, f"is damaged or not JSON ({error})", "export it again")
    except OSError as error:
        refuse(path, f"cannot be read ({error.strerror})", "check its permissions")
    if not isinstance(content, dict):
        refuse(path, "is not a JSON object", "export it again")
    return content


def _mapping(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = content.get(key)
    return value if isinstance(value, dict) else {}
