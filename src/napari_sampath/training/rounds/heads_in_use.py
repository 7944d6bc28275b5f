"""Which head of a dataset is in use, which were before it, and which one waits for a person to decide."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ...errors import DatasetError, WeightsMissingError
from ...files import write_atomically
from ...heads.bundle import SUFFIX

SCHEMA = 1
FOLDER, FILE = "heads", "heads.json"


class HeadsInUse:
    """The heads trained on one dataset, in its folder `heads/`.

    A head that was trained is first offered. Accepted, it is the current one, and the one before it the previous;
    rolled back, an offered head is turned down, and without an offer the previous head is current again. No file is
    ever deleted, and every change is on the disk when the method returns.

    Args:
        dataset: Folder of the dataset; nothing is written before the first head is offered.

    Raises:
        DatasetError: If the file that says which head is in use is damaged or newer than this program.
    """

    def __init__(self, dataset: str | Path) -> None:
        self.folder = Path(dataset).expanduser() / FOLDER
        self._accepted, self._offered = self._load()

    @property
    def current(self) -> Path | None:
        """The head accepted last; None before there is one."""
        return self._accepted[-1] if self._accepted else None

    @property
    def previous(self) -> Path | None:
        """The head that rolling back returns to; None if there is none."""
        return self._accepted[-2] if len(self._accepted) > 1 else None

    @property
    def offered(self) -> Path | None:
        """The head that waits to be accepted or turned down."""
        return self._offered

    def new_path(self, kind: str) -> Path:
        """Return a file name that no head has had, for one to be trained: "cnn-3.safetensors"."""
        taken = [0]
        if self.folder.is_dir():
            taken += [
                int(found[1])
                for path in self.folder.iterdir()
                if (found := re.fullmatch(r".+-(\d+)", path.name.partition(".")[0]))
            ]
        return self.folder / f"{kind}-{max(taken) + 1}{SUFFIX}"

    def offer(self, path: Path) -> None:
        """Put a trained head up for a decision, in place of one that still waits.

        Raises:
            WeightsMissingError: If there is no such file in the folder of heads.
            StorageError: If that cannot be saved; nothing has changed.
        """
        if path.resolve().parent != self.folder.resolve() or not path.is_file():
            raise WeightsMissingError(
                f"There is no head '{path}' in '{self.folder}'; train one, or copy it there."
            )
        self._change(self._accepted, self.folder / path.name)

    def accept(self) -> Path:
        """Make the offered head the current one.

        Raises:
            DatasetError: If none is offered.
            StorageError: If that cannot be saved; nothing has changed.
        """
        if self._offered is None:
            raise DatasetError("There is no new head to accept; train one first.")
        accepted = [one for one in self._accepted if one != self._offered]
        self._change([*accepted, self._offered], None)
        return self._accepted[-1]

    def roll_back(self) -> Path | None:
        """Turn the offered head down or, without one, go back to the previous head.

        Returns:
            The head in use now.

        Raises:
            DatasetError: If there is nothing to go back to.
            StorageError: If that cannot be saved; nothing has changed.
        """
        if self._offered is not None:
            self._change(self._accepted, None)
        elif self.previous is not None:
            self._change(self._accepted[:-1], None)
        else:
            raise DatasetError("There is no earlier head to go back to; train and accept another one first.")
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
        """Read what is in use; heads whose file is gone are left out."""
        file = self.folder / FILE
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            if content["schema"] != SCHEMA:
                raise ValueError(f"it has schema {content['schema']}")
            names = [str(name) for name in content["accepted"]]
            offered = content["offered"]
        except FileNotFoundError:
            return [], None
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise DatasetError(
                f"'{file}' does not say which head is in use ({error}); restore it, or move it away."
            ) from error
        there = [self.folder / name for name in names if (self.folder / name).is_file()]
        waits = offered is not None and (self.folder / str(offered)).is_file()
        return there, self.folder / str(offered) if waits else None
