"""Queue of the images in a folder, with the state of each image, saved on every change."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, get_args

from ...errors import ImageError, StorageError, UnknownNameError
from ...files import JsonError, free_name, from_json, locked, write_atomically
from ...files.json_reader import MAX_BYTES, Range, read_regular
from ...images import IMAGE_SUFFIXES, list_images
from ...jobs import Job
from ...registry import unknown_name
from ..prompts.tile_cache import TileFeatures

if TYPE_CHECKING:
    from ...predict import Model

logger = logging.getLogger(__name__)

State: TypeAlias = Literal["untouched", "in progress", "done", "unsure"]
STATES: tuple[State, ...] = get_args(State)
TO_REVIEW: tuple[State, ...] = ("untouched", "in progress")
SCHEMA = 1

States: TypeAlias = dict[str, dict[str, Any]]
"""File name -> the fields of `Entry` except its path."""
UNTOUCHED: dict[str, Any] = {"state": "untouched", "uncertainty": None}


@dataclass(frozen=True, slots=True)
class Entry:
    """One image of the folder."""

    path: Path
    state: State
    uncertainty: float | None = None
    """Mean uncertainty of the last automatic result, 0..1; None without a result."""


def _most_uncertain_first(entry: Entry) -> float:
    """Sort key that puts images without an automatic result last."""
    return 0.0 if entry.uncertainty is None else -1.0 - entry.uncertainty


class FolderQueue:
    """Images of a folder, sorted by name, each with its state.

    Label maps, masks and exports beside the images are left out, see `images.list_images`. Each new queue lists the
    folder again, so images may be added and removed. A damaged state file is renamed, not overwritten, and one that the
    user may not read is left as it is. Several queues may share a folder: each of them keeps the states that the others
    set.

    Args:
        folder: Folder of images; its subfolders are not searched, except that an OME-Zarr counts as an image.
        state_dir: Folder of the state file, usually `Config.sessions_dir`; the folder of images may be read-only.

    Raises:
        ImageError: If the folder does not exist or contains no image.
    """

    def __init__(self, folder: str | Path, state_dir: Path) -> None:
        self.folder = Path(folder).expanduser().resolve()
        try:
            is_folder = self.folder.is_dir()
        except OSError as error:
            raise ImageError(
                f"The folder '{folder}' cannot be opened ({error.strerror}); choose a folder that you may read."
            ) from error
        if not is_folder:
            raise ImageError(f"The folder '{folder}' does not exist; choose a folder of images.")
        listing = list_images(self.folder, slides=True)
        self.note = listing.note
        """Sentence that lists the files that are not images, such as label maps; None if there are none."""
        self._paths = list(listing.paths)
        if not self._paths:
            others = f" {self.note}" if self.note else ""
            raise ImageError(
                f"'{folder}' contains no images ({', '.join(IMAGE_SUFFIXES)}); choose another folder.{others}"
            )
        digest = hashlib.sha256(str(self.folder).encode("utf-8", "surrogatepass")).hexdigest()[:32]
        self.file = state_dir / f"folder-{digest}.json"
        self._states, current = self._load()
        names = [path.name for path in self._paths]
        self._index = names.index(current) if current in names else 0
        self.by_uncertainty = False
        """Whether `next` and `previous` order images by decreasing uncertainty instead of by name."""

    def __len__(self) -> int:
        return len(self._paths)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All images, sorted by name."""
        return tuple(self._entry(path) for path in self._paths)

    @property
    def current(self) -> Entry:
        """The open image."""
        return self._entry(self._paths[self._index])

    @property
    def upcoming(self) -> Entry | None:
        """The image that `next` would open; None at the end."""
        index = self._next_index()
        return None if index is None else self._entry(self._paths[index])

    @property
    def progress(self) -> dict[State, int]:
        """Number of images in each state."""
        counts = Counter(entry.state for entry in self.entries)
        return {state: counts[state] for state in STATES}

    def next(self) -> Entry | None:
        """Open the next image; None at the end.

        If `by_uncertainty` is set, images that are done or unsure are skipped, images without an automatic result come
        last, and the search continues from the start after the last image.
        """
        return self._open(self._next_index())

    def previous(self) -> Entry | None:
        """Open the previous image; None at the beginning."""
        order = self._order()
        position = order.index(self._index)
        return self._open(order[position - 1] if position else None)

    def open(self, name: str) -> Entry:
        """Open an image by its file name.

        Raises:
            UnknownNameError: If the folder has no such image.
        """
        self._open(self._paths.index(self._path(name)))
        return self.current

    def mark(self, name: str, state: State | None, uncertainty: float | None = None) -> Entry:
        """Set the state and the uncertainty of an image; None leaves a value unchanged.

        Raises:
            UnknownNameError: If the folder has no such image, or the state does not exist.
            StorageError: If the change cannot be saved; nothing has changed.
        """
        if state is not None and state not in STATES:
            raise UnknownNameError(unknown_name("state", state, list(STATES)))
        path = self._path(name)
        changes = {"state": state, "uncertainty": uncertainty}
        with self._editing() as states:
            states[path.name] = states.get(path.name, UNTOUCHED) | {
                key: value for key, value in changes.items() if value is not None
            }
        return self._entry(path)

    def touch(self, name: str) -> Entry:
        """Mark an untouched image as in progress; keep any other state."""
        path = self._path(name)
        if self._entry(path).state == "untouched":
            with self._editing() as states:
                values = states.get(path.name, UNTOUCHED)
                if values["state"] == "untouched":  # Another queue may have changed it.
                    states[path.name] = values | {"state": "in progress"}
        return self._entry(path)

    def awaits_review(self, name: str) -> bool:
        """Return True if an image is neither done nor unsure.

        Raises:
            UnknownNameError: If the folder has no such image.
        """
        return self._entry(self._path(name)).state in TO_REVIEW

    def to_review(self) -> list[Entry]:
        """Return the images that are neither done nor unsure, the most uncertain first."""
        entries = [entry for entry in self.entries if entry.state in TO_REVIEW]
        return sorted(entries, key=_most_uncertain_first)

    def encode_ahead_job(self, model: Model) -> Job[int] | None:
        """Make a job that encodes the central tiles of the upcoming image for the model's store; None at the end."""
        upcoming = self.upcoming
        return None if upcoming is None else _encode_ahead(upcoming.path, model)

    def _order(self) -> list[int]:
        """Return the indices of the images in the order in which `next` and `previous` visit them."""
        order = list(range(len(self)))
        if self.by_uncertainty:
            order.sort(key=lambda index: _most_uncertain_first(self._entry(self._paths[index])))
        return order

    def _next_index(self) -> int | None:
        order = self._order()
        position = order.index(self._index)
        if not self.by_uncertainty:
            return order[position + 1] if position + 1 < len(order) else None
        others = (*order[position + 1 :], *order[:position])
        entries = {index: self._entry(self._paths[index]) for index in others}
        to_review = [index for index, entry in entries.items() if entry.state in TO_REVIEW]
        segmented = [index for index in to_review if entries[index].uncertainty is not None]
        return next(iter(segmented or to_review), None)

    def _open(self, index: int | None) -> Entry | None:
        if index is None:
            return None
        with self._editing(index):
            pass
        return self.current

    def _path(self, name: str) -> Path:
        paths = {path.name: path for path in self._paths}
        if name not in paths:
            raise UnknownNameError(unknown_name(f"image in '{self.folder}'", name, list(paths)))
        return paths[name]

    def _entry(self, path: Path) -> Entry:
        return Entry(path, **self._states.get(path.name, UNTOUCHED))

    @contextlib.contextmanager
    def _editing(self, index: int | None = None) -> Iterator[States]:
        """Yield the states for editing, including those set by other queues, and save them; discard them on failure.

        Args:
            index: Index of the image to open; None keeps the current one.
        """
        with locked(self.file):
            saved, _ = self._load()
            states = {**self._states, **saved}
            yield states
            if index is not None or states != saved:
                self._save(states, self._index if index is None else index)
            self._states, self._index = states, self._index if index is None else index

    def _save(self, states: States, index: int) -> None:
        content = {
            "schema": SCHEMA,
            "folder": str(self.folder),
            "current": self._paths[index].name,
            "images": states,
        }
        text = json.dumps(content, indent=1).encode()
        write_atomically(self.file, lambda stream: stream.write(text))

    def _load(self) -> tuple[States, str | None]:
        """Read the states by file name, and the name of the open image.

        Raises:
            StorageError: If the file cannot be opened, for example because it belongs to another user.
        """
        try:
            # Not `read_json`, which replaces undecodable bytes in file names.
            stored = from_json(_Stored, json.loads(read_regular(self.file, MAX_BYTES)))
            if stored.schema != SCHEMA:
                raise JsonError(f"its schema is {stored.schema}")
            return {name: asdict(state) for name, state in stored.images.items()}, stored.current
        except FileNotFoundError:
            return {}, None
        except OSError as error:
            raise StorageError(
                f"The states of the images, '{self.file}', cannot be opened ({error.strerror}); check the permissions."
            ) from error
        except (ValueError, RecursionError) as error:
            names = [path.stem for path in self.file.parent.glob("*.unreadable")]
            renamed = self.file.with_name(f"{free_name(self.file.stem, names)}.unreadable")
            note = f"The states of the images are unreadable ({error}); '{self.file}' was renamed to '{renamed.name}'."
            logger.warning("%s", note)
            self.note = f"{self.note} {note}" if self.note else note
            try:
                self.file.rename(renamed)
            except OSError as failure:
                raise StorageError(
                    f"'{self.file}' is unreadable and cannot be renamed ({failure})."
                ) from error
            return {}, None


@dataclass(frozen=True, slots=True)
class _StoredState:
    state: State
    uncertainty: Annotated[float, Range(0, 1)] | None = None


@dataclass(frozen=True, slots=True)
class _Stored:
    """The content of the state file."""

    schema: int
    images: dict[str, _StoredState]
    current: str | None = None


def _encode_ahead(path: Path, model: Model) -> Job[int]:
    from ...images import open_image

    with open_image(path) as image:
        return (yield from TileFeatures(model, image.pixels).encode_ahead_job())
