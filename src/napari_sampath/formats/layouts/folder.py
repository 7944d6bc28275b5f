"""The folder of an export: written as a whole, and updated by a later export.

New contents are written to a temporary folder inside the export and moved when all of them are complete, so that an
export that fails or is cancelled changes nothing. `export.json` lists the files with their digests; a later export
replaces what changed, deletes what is gone, and keeps files that it did not write.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import DatasetError
from ...files import JsonError, locked, read_json, write_atomically
from ...files.messages import storage_error

RECORD = "export.json"
EDITED = "changed-by-hand"
"""Folder to which exported files that a user has changed are moved before they are replaced or deleted."""
_STAGING = ".export-"
_SCHEMA = 1
_LOCK_S = 10.0


@dataclass(frozen=True, slots=True)
class FolderChanges:
    """Numbers of files."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    kept_edits: int = 0
    """Files changed by hand that were moved to `EDITED`."""


class ExportFolder:
    """Collects the files of an export; use `open_folder`.

    Args:
        path: The folder, which exists and is locked.
        record: The record of the earlier export; None if there is none.
    """

    def __init__(self, path: Path, record: Mapping[str, Any] | None) -> None:
        self.path = path
        self._earlier: Mapping[str, str] = {} if record is None else record["files"]
        self._staging = path / f"{_STAGING}{uuid.uuid4().hex}"
        self._digests: dict[str, str] = {}
        self._staged: list[str] = []

    def write(self, name: str, content: bytes) -> None:
        """Add a file.

        Args:
            name: Path in the export, with "/".
            content: Its content.

        Raises:
            StorageError: If it cannot be written.
        """
        self._digests[name] = digest = hashlib.sha256(content).hexdigest()
        if self._earlier.get(name) == digest and _digest(self.path / name) == digest:
            return
        target = self._staging / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        except OSError as error:
            raise storage_error(self.path / name, error) from error
        self._staged.append(name)

    def commit(self, values: Mapping[str, Any]) -> FolderChanges:
        """Move the new files into place, delete those of the earlier export that are gone, and write the record.

        Args:
            values: Further JSON values of the record.

        Raises:
            StorageError: If a file cannot be moved; repeat the export as an update then.
        """
        gone = [name for name in self._earlier if name not in self._digests]
        # A record of all files is written first, so that an interrupted export can be repeated as an update.
        self._save(dict.fromkeys((*self._earlier, *self._digests), "") | dict(self._earlier), values, False)
        edits = 0
        try:
            for name in (*self._staged, *gone):
                edits += self._keep_edit(name)
            for name in self._staged:
                (self.path / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(self._staging / name, self.path / name)
            for name in gone:
                (self.path / name).unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # The folder has other files.
                    (self.path / name).parent.rmdir()
        except OSError as error:
            raise storage_error(self.path, error) from error
        self._save(self._digests, values, True)
        new = sum(name not in self._earlier for name in self._staged)
        unchanged = len(self._digests) - len(self._staged)
        return FolderChanges(new, len(self._staged) - new, unchanged, len(gone), edits)

    def discard(self) -> None:
        """Delete the temporary folder."""
        shutil.rmtree(self._staging, ignore_errors=True)

    def _keep_edit(self, name: str) -> int:
        path = self.path / name
        if not path.is_file() or _digest(path) in (self._earlier.get(name), self._digests.get(name)):
            return 0
        target, number = self.path / EDITED / name, 2
        while target.exists():
            target = (self.path / EDITED / name).with_name(f"{path.stem} ({number}){path.suffix}")
            number += 1
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, target)
        return 1

    def _save(self, files: Mapping[str, str], values: Mapping[str, Any], complete: bool) -> None:
        content = {"schema": _SCHEMA, "complete": complete, **values, "files": dict(sorted(files.items()))}
        text = (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass")
        write_atomically(self.path / RECORD, lambda stream: stream.write(text))


@contextlib.contextmanager
def open_folder(path: Path, update: bool) -> Iterator[ExportFolder]:
    """Open a folder for an export; what was not committed when the `with` block ends is deleted.

    Args:
        path: A new or empty folder, or with `update` the folder of an earlier export.
        update: Replace an earlier export.

    Raises:
        DatasetError: If the folder has other files.
        StorageError: If it cannot be written, or another program writes to it.
    """
    path = Path(os.path.abspath(path.expanduser()))
    existed = path.exists()
    record = check_folder(path, update)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(path, error) from error
    try:
        with locked(path / RECORD, _LOCK_S):
            for left in path.glob(f"{_STAGING}*"):
                shutil.rmtree(left, ignore_errors=True)
            folder = ExportFolder(path, record)
            try:
                yield folder
            finally:
                folder.discard()
    except BaseException:
        if not existed:
            _remove_empty(path)
        raise


def check_folder(path: Path, update: bool) -> dict[str, Any] | None:
    """Check that a folder can take an export, and return the record of the earlier one.

    Raises:
        DatasetError: If it has other files, or the earlier export must not be replaced.
    """
    if path.exists() and not path.is_dir():
        raise DatasetError(f"'{path}' is a file; choose a folder for the export.")
    record = read_record(path)
    if record is not None and not update:
        raise DatasetError(
            f"'{path}' has an earlier export; choose 'update' to replace it, or a new folder for the export."
        )
    if record is None and path.exists():
        others = [
            entry.name for entry in path.iterdir() if not entry.name.startswith((_STAGING, f".{RECORD}"))
        ]
        if others:
            raise DatasetError(
                f"'{path}' is not empty, and its files are not those of an export; choose a new folder for the export."
            )
    return record


def read_record(path: Path) -> dict[str, Any] | None:
    """Read the record of an earlier export; None if there is none.

    Raises:
        DatasetError: If it is damaged or of a newer version.
    """
    file = path / RECORD
    if not file.is_file():
        return None
    try:
        record = read_json(file)
        names = list(record["files"])
        is_valid = record["schema"] <= _SCHEMA and all(
            isinstance(digest, str) for digest in record["files"].values()
        )
        if not is_valid or any(Path(name).is_absolute() or ".." in Path(name).parts for name in names):
            raise JsonError("it is of a newer version or was changed")
    except (OSError, JsonError, LookupError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"'{file}' cannot be used ({error}); choose a new folder for the export."
        ) from error
    return dict(record)


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise storage_error(path, error) from error


def _remove_empty(path: Path) -> None:
    with contextlib.suppress(OSError):
        (path / f".{RECORD}.lock").unlink(missing_ok=True)
        path.rmdir()
