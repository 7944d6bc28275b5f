"""The current, previous and offered head of a dataset."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePath

from ...errors import DatasetError, WeightsMissingError
from ...files import from_json, read_json, write_atomically
from ...heads.bundle import SUFFIX

SCHEMA = 1
FOLDER, FILE = "heads", "heads.json"


@dataclass(frozen=True, slots=True)
class _Stored:
    """Content of `heads.json`."""

    schema: int
    accepted: list[str]
    offered: str | None


class HeadsInUse:
    """The heads trained on one dataset, in its folder `heads/`.

    A newly trained head is first offered. Accepting it makes it the current head, and the former current head becomes
    the previous head. Rolling back rejects the offered head; if there is none, the previous head becomes current again,
    or no head after the first one.
    Head files are never deleted. Every change is saved before the method returns; if this raises a `StorageError`,
    nothing has changed.

    Raises:
        DatasetError: If `heads.json` is damaged or was written by a newer version.
    """

    def __init__(self, dataset: str | Path) -> None:
        self.folder = Path(dataset).expanduser() / FOLDER
        self._accepted, self._offered = self._load()

    @property
    def current(self) -> Path | None:
        """The head that was accepted last; None if there is none."""
        return self._accepted[-1] if self._accepted else None

    @property
    def previous(self) -> Path | None:
        """The head that was accepted before the current one; None if there is none."""
        return self._accepted[-2] if len(self._accepted) > 1 else None

    @property
    def offered(self) -> Path | None:
        """The head that waits to be accepted or rejected; None if there is none."""
        return self._offered

    def new_path(self, kind: str) -> Path:
        """Return an unused file name for a head, such as "cnn-3.safetensors"."""
        names = [path.name.partition(".")[0] for path in self.folder.glob("*")]
        matches = [re.fullmatch(r".+-(\d+)", name) for name in names]
        number = 1 + max((int(match[1]) for match in matches if match), default=0)
        return self.folder / f"{kind}-{number}{SUFFIX}"

    def offer(self, path: Path) -> None:
        """Offer a trained head, replacing the head offered before.

        Raises a `WeightsMissingError` if `path` is not a file in the folder `heads/` of the dataset.
        """
        if path.resolve().parent != self.folder.resolve() or not path.is_file():
            raise WeightsMissingError(
                f"The head '{path}' is not in '{self.folder}'; train a head, or copy this one there."
            )
        self._change(self._accepted, self.folder / path.name)

    def accept(self) -> Path:
        """Make the offered head the current one; raises a `DatasetError` if none is offered."""
        if self._offered is None:
            raise DatasetError("There is no new head to accept; train one first.")
        accepted = [path for path in self._accepted if path != self._offered]
        self._change([*accepted, self._offered], None)
        return self._accepted[-1]

    def roll_back(self) -> Path | None:
        """Reject the offered head; if there is none, restore the previous head, or no head if there was only one.

        Returns the current head; None if there is none any more. Raises a `DatasetError` if no head is in use.
        """
        if self._offered is not None:
            self._change(self._accepted, None)
        elif self._accepted:
            self._change(self._accepted[:-1], None)
        else:
            raise DatasetError(
                "No head is in use, so there is none to roll back; train and accept one first."
            )
        return self.current

    def _change(self, accepted: list[Path], offered: Path | None) -> None:
        content = {
            "schema": SCHEMA,
            "accepted": [path.name for path in accepted],
            "offered": None if offered is None else offered.name,
        }
        text = json.dumps(content, indent=1).encode()
        write_atomically(self.folder / FILE, lambda stream: stream.write(text))
        self._accepted, self._offered = list(accepted), offered

    def _load(self) -> tuple[list[Path], Path | None]:
        """Read the accepted heads and the offered head; heads whose file is missing are dropped."""
        file = self.folder / FILE
        try:
            content = from_json(_Stored, read_json(file))
            if content.schema != SCHEMA:
                raise ValueError(f"it has schema {content.schema}")
            for name in (*content.accepted, *filter(None, [content.offered])):
                if PurePath(name).name != name or "\0" in name:
                    raise ValueError(f"'{name}' is not the name of a file")
            accepted = [self.folder / name for name in content.accepted]
            offered = None if content.offered is None else self.folder / content.offered
        except FileNotFoundError:
            return [], None
        except (OSError, ValueError) as error:
            raise DatasetError(
                f"'{file}' cannot be read ({error}); restore it from a backup, or delete it and train a head again."
            ) from error
        # Unlike `Path.is_file`, `os.path.isfile` does not raise for a name that is too long.
        existing = [path for path in accepted if os.path.isfile(path)]
        return existing, offered if offered is not None and os.path.isfile(offered) else None
