"""Atomic replacement of several files and folders: after a kill at any moment, either all are old or all are new.

The new contents are written under temporary names. A record lists them and is then renamed to its final name. A save
that is killed before this has changed nothing. A save that is killed later is completed by `settle`, which every reader
and writer of such a folder calls first. The writer locks the record, so that readers wait until it has finished.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from ..errors import SampathError, StorageError
from .atomic import (
    PART,
    Write,
    check_target,
    check_writable,
    keep_permissions,
    remove_leftovers,
    sync,
    sync_folder,
    temporary_path,
    write_atomically,
)
from .json_reader import JsonError, convert, read_json
from .locks import lock_descriptor
from .messages import storage_error

logger = logging.getLogger(__name__)

WriteFolder: TypeAlias = Callable[[Path], object]
"""Function that writes a folder, which does not exist yet."""

STAGED, KEPT, COMMIT, UNDO = ".staged", ".kept", ".commit", ".undo"
_RECORD = re.compile(r"\.[0-9a-f]{32}(\.commit|\.undo)")
_TEMPORARY = re.compile(r"\.[0-9a-f]{32}(\.staged|\.kept)")
_WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class _Move:
    """The replacement of one file or folder; all paths are relative to the folder of the record."""

    target: str
    staged: str
    """The new content; empty to delete the target."""
    kept: str
    """The old content: a link to the file, or the folder after it was moved away."""
    replaces: bool
    """Whether the target existed."""


def write_together(
    files: Mapping[Path, Write],
    root: Path | None = None,
    folders: Mapping[Path, WriteFolder] | None = None,
    rename: Mapping[Path, Path] | None = None,
    remove: Iterable[Path] = (),
) -> None:
    """Write several files that belong together: either all are replaced, or none, even if the process is killed.

    Args:
        files: Path -> function that writes its content.
        root: Folder that contains all files, on which readers call `settle`; the caller must have locked it. By default
            only the files of one folder are replaced together if the process is killed.
        folders: Path -> function that writes a folder of that name, such as an OME-Zarr.
        rename: Existing path -> new path in `root`.
        remove: Files in `root` to delete; missing files are skipped.

    Raises:
        StorageError: As for `write_atomically`; nothing has changed.
    """
    folders, rename, remove = folders or {}, rename or {}, list(remove)
    if len(files) == 1 and not (folders or rename or remove):
        ((path, write),) = files.items()
        write_atomically(path, write)
        return
    paths: dict[Path, Callable[[Any], object]] = {Path(os.path.abspath(path)): files[path] for path in files}
    paths |= {Path(os.path.abspath(path)): folders[path] for path in folders}
    whole = {Path(os.path.abspath(path)) for path in folders}
    saves: list[_Save] = []
    place = root or Path()
    try:
        for parent, group in groupby(sorted(paths), key=lambda path: root or path.parent):
            save = _Save(Path(os.path.abspath(parent)))
            saves.append(save)
            for path in sorted(group, key=list(paths).index):
                place = path.parent
                save.stage(path, paths[path], is_folder=path in whole)
            for source, target in rename.items():
                save.rename(source, target)
            for path in remove:
                save.remove(path)
        for save in saves:
            place = save.root
            save.commit()
    except BaseException as error:
        for save in reversed(saves):
            save.revert()
        if isinstance(error, OSError) and not isinstance(error, SampathError):
            raise storage_error(place, error) from error
        raise
    for save in saves:
        save.finish()


def settle(folder: Path) -> bool:
    """Complete or revert saves into a folder that were interrupted; wait for one that is in progress.

    Args:
        folder: The folder; it need not exist.

    Returns:
        True if there was such a save; content that was read from the folder earlier may then be out of date.

    Raises:
        StorageError: If it cannot be completed, or a record is damaged.
    """
    try:
        names = [entry.name for entry in os.scandir(folder) if _RECORD.fullmatch(entry.name)]
    except OSError:
        return False
    for name in names:
        try:
            _settle_one(folder, folder / name)
        except (OSError, JsonError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise StorageError(
                f"A save into '{folder}' was interrupted and cannot be completed from '{name}' ({reason}); open the "
                "folder once with permission to write, or restore it from a backup."
            ) from error
    return bool(names)


def remove_staged(folders: Iterable[Path]) -> None:
    """Delete temporary files of killed saves; call it with the folder locked, after `settle`."""
    for folder in folders:
        remove_leftovers(folder)
        with contextlib.suppress(OSError):
            for entry in list(os.scandir(folder)):
                if _TEMPORARY.fullmatch(entry.name):
                    _remove(Path(entry.path))


class _Save:
    """Replacement of the files and folders in one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.moves: list[_Move] = []
        self._record: Path | None = None
        self._stream: BinaryIO | None = None

    def stage(self, target: Path, write: Callable[[Any], object], is_folder: bool) -> None:
        """Write the new content under a temporary name."""
        if is_folder:
            if target.exists():
                check_writable(target)
        else:
            check_target(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = temporary_path(target.parent, STAGED)
        self._add(target, staged.relative_to(self.root).as_posix())
        if is_folder:
            write(staged)
            if hasattr(os, "sync"):  # One call for all files, because an OME-Zarr has thousands.
                os.sync()
        else:
            with open(staged, "xb") as stream:
                write(stream)
                sync(stream)
                keep_permissions(stream.fileno(), target)

    def rename(self, source: Path, target: Path) -> None:
        """Rename a file or folder."""
        if os.path.lexists(source):
            self._add(target, source.relative_to(self.root).as_posix())

    def remove(self, target: Path) -> None:
        """Delete a file."""
        if os.path.lexists(target):
            check_writable(target)
            self._add(target, "")

    def commit(self) -> None:
        """Rename all staged contents to their targets."""
        for move in self.moves:
            if move.staged and move.replaces and not (self.root / move.target).is_dir():
                _link(self.root / move.target, self.root / move.kept)
        temporary = temporary_path(self.root, PART)
        content = json.dumps({"schema_version": 1, "moves": [asdict(move) for move in self.moves]})
        self._stream = open(temporary, "xb")  # noqa: SIM115  # open, and locked, until `finish`
        try:
            lock_descriptor(self._stream.fileno())
            self._stream.write(content.encode())
            sync(self._stream)
            self._rename(temporary, temporary.with_suffix(COMMIT))
        finally:
            temporary.unlink(missing_ok=True)
        _apply(self.root, self.moves)

    def revert(self) -> None:
        """Restore the old contents after an error."""
        try:
            if self._record is not None:
                self._rename(self._record, self._record.with_suffix(UNDO))
                _restore(self.root, self.moves)
        except OSError as error:
            logger.warning("A failed save into '%s' could not be reverted yet: %s", self.root, error)
            self._close()
            return
        _discard(self.root, self.moves)
        self.finish()

    def finish(self) -> None:
        """Delete the old contents and the record."""
        _forget(self.root, self.moves)
        self._close()
        if self._record is not None:
            with contextlib.suppress(OSError):  # The next reader deletes it.
                self._record.unlink(missing_ok=True)

    def _add(self, target: Path, staged: str) -> None:
        kept = temporary_path(target.parent, KEPT)
        names = target.relative_to(self.root).as_posix(), staged, kept.relative_to(self.root).as_posix()
        self.moves.append(_Move(*names, replaces=os.path.lexists(target)))

    def _rename(self, source: Path, target: Path) -> None:
        if os.name == "nt" and self._stream is not None:  # Windows does not rename open files.
            self._stream.close()
        os.replace(source, target)
        self._record = target
        sync_folder(self.root)

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.close()


def _settle_one(root: Path, record: Path) -> None:
    try:
        stream = open(record, "rb")  # noqa: SIM115  # closed below
    except FileNotFoundError:  # Another process completed it.
        return
    with stream:
        if lock_descriptor(stream.fileno(), _WAIT_S, shared=False) is False:
            raise OSError(11, "another program is writing to it")
        if not record.exists():
            return
        moves = _parse(read_json(record))
        if record.suffix == UNDO:
            _restore(root, moves)
            _discard(root, moves)
        else:
            _apply(root, moves)
        _forget(root, moves)
        if os.name != "nt":
            record.unlink(missing_ok=True)
    record.unlink(missing_ok=True)


def _parse(content: Any) -> list[_Move]:
    """Check a record, because the folder of another person must not make this program move files elsewhere."""
    if not isinstance(content, dict) or content.get("schema_version") != 1:
        raise JsonError("it was written by another version")
    moves: list[_Move] = convert(content.get("moves"), list[_Move], "moves")
    for move in moves:
        for name in (move.target, move.staged or move.kept, move.kept):
            parts = Path(name).parts
            if Path(name).is_absolute() or not parts or ".." in parts or "\0" in name:
                raise JsonError(f"'{name}' is not a path in this folder")
        if not _TEMPORARY.fullmatch(Path(move.kept).name):
            raise JsonError(f"'{move.kept}' is not a temporary file")
    return moves


def _apply(root: Path, moves: Sequence[_Move]) -> None:
    """Rename the staged contents that have not been renamed yet."""
    for move in moves:
        staged, target = root / move.staged, root / move.target
        if not move.staged:
            if os.path.lexists(target):
                os.replace(target, root / move.kept)
        elif os.path.lexists(staged):
            if staged.is_dir() and target.exists():
                os.replace(target, root / move.kept)
            os.replace(staged, target)
    for folder in _folders(root, moves):
        sync_folder(folder)


def _restore(root: Path, moves: Sequence[_Move]) -> None:
    """Undo the renames of `_apply`."""
    for move in reversed(moves):
        staged, target, kept = root / move.staged, root / move.target, root / move.kept
        if os.path.lexists(kept):
            if kept.is_dir() and os.path.lexists(target):
                os.replace(target, staged)
            os.replace(kept, target)
        elif move.staged and not move.replaces and not os.path.lexists(staged) and os.path.lexists(target):
            os.replace(target, staged)
    for folder in _folders(root, moves):
        sync_folder(folder)


def _discard(root: Path, moves: Sequence[_Move]) -> None:
    """Delete the new contents, after `_restore`."""
    for move in moves:
        if _TEMPORARY.fullmatch(Path(move.staged).name):
            _remove(root / move.staged)


def _forget(root: Path, moves: Sequence[_Move]) -> None:
    for move in moves:
        _remove(root / move.kept)


def _folders(root: Path, moves: Sequence[_Move]) -> Iterator[Path]:
    yield from dict.fromkeys((root / move.target).parent for move in moves)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _link(target: Path, kept: Path) -> None:
    """Create a hard link to a file, or a copy if the file system has no hard links."""
    try:
        os.link(target, kept, follow_symlinks=False)
    except OSError:
        shutil.copy2(target, kept, follow_symlinks=False)
