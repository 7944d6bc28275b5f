"""The slide or case, split and scale of images, as `index.csv` states them."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from ....errors import DatasetError
from .splits import read_split

CHANNEL = "_0000"
"""End of the names of images of nnU-Net, which their labels and `index.csv` do not have."""


def read_index(path: Path) -> list[dict[str, str]]:
    """Read the rows of an `index.csv`; empty if there is none.

    Raises:
        DatasetError: If it cannot be read, or names an unknown split.
    """
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [{k: v or "" for k, v in row.items() if k is not None} for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"'{path}' cannot be read ({error}); save it as a CSV file in UTF-8.") from error
    return [row | {"split": read_split(row["split"], path)} if "split" in row else row for row in rows]


class Groups:
    """Slide or case, split and scale of the images in the rows of an `index.csv`.

    Args:
        folder: Folder of the file, for error messages.
        rows: Rows with the columns `name`, `group`, `split` and `mpp`; may be empty.

    Raises:
        DatasetError: If there is no column `name`.
    """

    def __init__(self, folder: Path, rows: Sequence[Mapping[str, str]]) -> None:
        self._folder = folder
        self._rows = {row["name"]: row for row in rows if row.get("name")}
        if rows and not self._rows:
            raise DatasetError(
                f"'{folder / 'index.csv'}' has the columns {list(rows[0])}; it must have name, group and split, "
                "separated by commas."
            )

    def group(self, image: Path) -> str:
        """Return the slide or case of an image; empty if it is not stated."""
        return self._row(image).get("group") or ""

    def split(self, image: Path) -> str:
        """Return the split of an image; empty if it is not stated."""
        return self._row(image).get("split") or ""

    def mpp(self, image: Path) -> float | None:
        """Return the micrometres per pixel of an image; None if they are not stated.

        Raises:
            DatasetError: If they are not a positive number.
        """
        text = (self._row(image).get("mpp") or "").strip()
        if not text:
            return None
        try:
            mpp = float(text)
        except ValueError:
            mpp = 0.0
        if not 0 < mpp < math.inf:
            raise DatasetError(
                f"'{self._folder / 'index.csv'}' states the mpp '{text}' of '{image.stem}'; give the micrometres per "
                "pixel, or leave it empty."
            )
        return mpp

    def any_group(self) -> bool:
        """Return True if the slide or case of any image is stated."""
        return any(row.get("group") for row in self._rows.values())

    def _row(self, image: Path) -> Mapping[str, str]:
        names = (image.stem, image.name, image.stem.removesuffix(CHANNEL))
        return next((self._rows[name] for name in names if name in self._rows), {})


def unknown_groups(folder: Path) -> str:
    """Return the warning for a folder that does not state the slide or case of its images."""
    return (
        f"The dataset {folder} does not state the slide or case of its images; each counts as its own case, so scores "
        "may be too optimistic. Add index.csv with the columns name, group and split."
    )
