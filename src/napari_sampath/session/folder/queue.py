"""A folder of images as a queue: which are done, which comes next, how far one is. Kept on disk as it changes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from ...errors import ImageError, UnknownNameError
from ...files import alone, write_atomically
from ...jobs import Job
from ...registry import unknown_name

if TYPE_CHECKING:
    from ...predict import Model

logger = logging.getLogger(__name__)

State: TypeAlias = Literal["untouched", "in progress", "done", "unsure"]
STATES: tuple[State, ...] = get_args(State)
LEFT: tuple[State, ...] = ("untouched", "in progress")
"""States of images that somebody still has to look at."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".svs", ".ndpi", ".mrxs", ".scn", ".zarr")
SCHEMA = 1

States: TypeAlias = dict[str, dict[str, Any]]
"""File name -> what is kept of an image besides its path, see `Entry`."""
UNTOUCHED: dict[str, Any] = {"state": "untouched", "uncertainty": None}


@dataclass(frozen=True, slots=True)
class Entry:
    """One image of the folder."""

    path: Path
    state: State
    uncertainty: float | None = None
    """Mean uncertainty of the last automatic result, 0..1; None before there is one."""


def _doubt(entry: Entry) -> float:
    """Rank the most uncertain first, and what no head has seen last."""
    return 0.0 if entry.uncertainty is None else -1.0 - entry.uncertainty


class FolderQueue:
    """The images of a folder, by name, and what has been done to them.

    Images that are added to or taken from the folder between two sessions are; a state file that cannot be read is
    put aside, not overwritten. Several windows may work through one folder: each keeps the marks of the others.

    Args:
        folder: Folder of images; folders in it are not searched, but an OME-Zarr is an image.
        state_dir: Where states are kept, `Config.sessions_dir`; the folder of images may be read-only.

    Raises:
        ImageError: If there is no such folder, or no image in it.
    """

    def __init__(self, folder: str | Path, state_dir: Path) -> None:
        self.folder = Path(folder).expanduser().resolve()
        if not self.folder.is_dir():
            raise ImageError(f"There is no folder '{folder}'; choose one that holds images.")
        self._paths = sorted(
            path
            for path in self.folder.iterdir()
            if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
        )
        if not self._paths:
            raise ImageError(f"'{folder}' holds no images ({', '.join(SUFFIXES)}); choose another folder.")
        digest = hashlib.sha256(str(self.folder).encode("utf-8", "surrogatepass")).hexdigest()[:32]
        self.file = state_dir / f"folder-{digest}.json"
        self._states, last = self._load()
        names = [path.name for path in self._paths]
        self._index = names.index(last) if last in names else 0
        self.by_doubt = False
        """Whether `next` and `previous` go from the most uncertain automatic result to the least, and not by name."""

    def __len__(self) -> int:
        return len(self._paths)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All images in order."""
        return tuple(self._entry(path) for path in self._paths)

    @property
    def current(self) -> Entry:
        """The image that is open."""
        return self._entry(self._paths[self._index])

    @property
    def upcoming(self) -> Entry | None:
        """The image that `next` would open, to be encoded ahead; None at the end."""
        index = self._after()
        return None if index is None else self._entry(self._paths[index])

    @property
    def progress(self) -> dict[State, int]:
        """How many images are in each state."""
        counts = Counter(entry.state for entry in self.entries)
        return {state: counts[state] for state in STATES}

    def next(self) -> Entry | None:
        """Open the next image; None, and nothing changes, at the end.

        By doubt those done or put aside are passed over, after the last come those that were passed before, and what no
        head has seen comes when nothing else is left.
        """
        return self._step(self._after())

    def previous(self) -> Entry | None:
        """Open the image before; None, and nothing changes, at the beginning."""
        order = self._order()
        place = order.index(self._index)
        return self._step(order[place - 1] if place else None)

    def open(self, name: str) -> Entry:
        """Open an image by its file name.

        Raises:
            UnknownNameError: If it is not in the folder.
        """
        self._go(self._paths.index(self._path(name)))
        return self.current

    def mark(self, name: str, state: State | None, uncertainty: float | None = None) -> Entry:
        """Set the state and the uncertainty of an image; what is None stays as it is.

        Raises:
            UnknownNameError: If it is not in the folder, or there is no such state.
            StorageError: If that cannot be saved; nothing has changed.
        """
        if state is not None and state not in STATES:
            raise UnknownNameError(unknown_name("state", state, list(STATES)))
        path = self._path(name)
        with self._writing() as states:
            given = {"state": state, "uncertainty": uncertainty}
            known = states.get(path.name, UNTOUCHED)
            states[path.name] = known | {key: value for key, value in given.items() if value is not None}
        return self._entry(path)

    def touch(self, name: str) -> Entry:
        """Note that an image was annotated: one that was untouched is in progress; others stay as they are."""
        path = self._path(name)
        if self._entry(path).state == "untouched":
            with self._writing() as states:
                known = states.get(path.name, UNTOUCHED)
                if known["state"] == "untouched":  # Nobody has marked it elsewhere.
                    states[path.name] = known | {"state": "in progress"}
        return self._entry(path)

    def awaits_review(self, name: str) -> bool:
        """Say whether an image is neither done nor put aside as unsure.

        Raises:
            UnknownNameError: If it is not in the folder.
        """
        return self._entry(self._path(name)).state in LEFT

    def to_review(self) -> list[Entry]:
        """List what is neither done nor put aside as unsure, the most uncertain automatic result first."""
        left = [entry for entry in self.entries if entry.state in LEFT]
        return sorted(left, key=_doubt)

    def encode_ahead_job(self, model: Model) -> Job[int] | None:
        """Make a job that encodes the tiles of the next image that a click will probably need; None at the end.

        Its features go to the model's store, where the session of that image finds them.
        """
        upcoming = self.upcoming
        return None if upcoming is None else _encode_ahead(upcoming.path, model)

    def _order(self) -> list[int]:
        """List the places of the images in the order in which they are walked through."""
        places = list(range(len(self)))
        return (
            sorted(places, key=lambda one: _doubt(self._entry(self._paths[one]))) if self.by_doubt else places
        )

    def _after(self) -> int | None:
        order = self._order()
        place = order.index(self._index)
        if not self.by_doubt:
            return order[place + 1] if place + 1 < len(order) else None
        rest = [self._paths[one] for one in (*order[place + 1 :], *order[:place])]
        left = [path for path in rest if self._entry(path).state in LEFT]
        doubted = [path for path in left if self._entry(path).uncertainty is not None]
        return self._paths.index((doubted or left)[0]) if left else None

    def _step(self, index: int | None) -> Entry | None:
        if index is None:
            return None
        self._go(index)
        return self.current

    def _go(self, index: int) -> None:
        with self._writing(index):
            pass

    def _path(self, name: str) -> Path:
        names = {path.name: path for path in self._paths}
        if name not in names:
            raise UnknownNameError(unknown_name(f"image in '{self.folder}'", name, list(names)))
        return names[name]

    def _entry(self, path: Path) -> Entry:
        return Entry(path, **self._states.get(path.name, UNTOUCHED))

    @contextlib.contextmanager
    def _writing(self, index: int | None = None) -> Iterator[States]:
        """Hand out the states, those of other windows too, for changes, and write them; if that fails, none is made.

        Args:
            index: The image that is open from now on; the same as before if left out.
        """
        with alone(self.file):
            states = {**self._states, **self._load()[0]}
            yield states
            index = self._index if index is None else index
            self._save(states, index)
            self._states, self._index = states, index

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
        """Read states by file name, and which image was open."""
        try:
            content = json.loads(self.file.read_bytes())
            if content["schema"] != SCHEMA:
                raise ValueError(f"it has schema {content['schema']}")
            states = {
                str(name): {"state": one["state"], "uncertainty": one.get("uncertainty")}
                for name, one in content["images"].items()
                if one["state"] in STATES
            }
            return states, content.get("current")
        except FileNotFoundError:
            return {}, None
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            aside = self.file.with_suffix(".unreadable")
            logger.warning(
                "The states in %s cannot be read (%s); they are put aside as %s.", self.file, error, aside
            )
            self.file.replace(aside)
            return {}, None


def _encode_ahead(path: Path, model: Model) -> Job[int]:
    from ...images import read
    from ..session import Session

    picture = read(path)
    session = Session(picture.pixels, picture.name, model)
    return (yield from session.encode_job())
