"""A project with annotated images, for tests of exports and reports."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from napari_sampath.arrays import ClassInfo
from napari_sampath.formats.layouts import ExportSettings
from napari_sampath.images import read
from napari_sampath.jobs import run
from napari_sampath.session import NewObjects, Project, Session, journal_path
from napari_sampath.session.exports import DatasetExport, export_dataset_job
from napari_sampath.session.proposals.new_objects import NewObject
from support.models.project_images import noise

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sampath.arrays import LocalMask

CLASSES = (ClassInfo(1, "gland", (0, 158, 115)), ClassInfo(3, "tumour", (213, 94, 0)))
"""Number 2 is free, as after a class was deleted."""
HW = (96, 120)


def disc(row: float, col: float, radius: float, hole: float = 0.0) -> np.ndarray:
    """Return a disc (96, 120) with a round hole."""
    rows, cols = np.indices(HW)
    distance = np.hypot(rows - row, cols - col)
    return (distance <= radius) & (distance >= hole)


class Study:
    """A project "Study" with journals of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.journals = folder, folder / "journals"
        self.project = Project.create(folder / "project", "Study", CLASSES)

    def add(self, name: str, seed: int, slide: str = "", mpp: float | None = 0.25) -> None:
        """Add an image with two touching glands and a tumour with a hole."""
        self.folder.mkdir(exist_ok=True)
        Image.fromarray(noise(seed, HW)).save(self.file(name))
        session = self.open(name)
        self.project.add(session.digest, session.hw, name, self.file(name), mpp=mpp, slide=slide)
        for mask, class_id in (
            (disc(30, 30, 14), 1),
            (disc(30, 52, 12) & ~disc(30, 30, 14), 1),
            (disc(66, 90, 20, hole=6), 3),
        ):
            session.paint(*np.nonzero(mask), class_id, object_id=None, start_rc=None)
        session.close()

    def file(self, name: str) -> Path:
        """Return the path of an image."""
        return self.folder / f"{name}.png"

    def open(self, name: str) -> Session:
        """Open a session; close it afterwards."""
        pixels = read(self.file(name)).pixels
        return Session(pixels, name, classes=CLASSES, journal=journal_path(pixels, self.journals))

    def edit(self, name: str, change: Callable[[Session], object]) -> None:
        """Change the annotations of an image."""
        session = self.open(name)
        change(session)
        session.close()

    def propose(self, name: str) -> None:
        """Add an object of a head that nobody has reviewed."""
        from napari_sampath.arrays import LocalMask

        mask: LocalMask = LocalMask.from_dense(disc(80, 20, 8))
        new = NewObjects((NewObject(1, mask, 0.7),), CLASSES[:1], "a head", (0, 0, *HW))
        self.edit(name, lambda session: session.proposals.add(new).apply())

    def remove(self, name: str) -> None:
        """Take an image out of the project."""
        self.project.remove(self.project.image(name).digest)

    def rename(self, name: str, new: str) -> None:
        """Rename an image."""
        self.project.rename_image(self.project.image(name).digest, new)

    def maps(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return class map and instance map of an image."""
        session = self.open(name)
        document = session.document
        box = (0, 0, *HW)
        maps = document.class_map.window(box), document.instance_map.window(box)
        session.close()
        return maps

    def pixels(self, name: str) -> np.ndarray:
        """Return the pixels of an image."""
        return read(self.file(name)).pixels

    def export(
        self,
        folder: Path,
        layout: str,
        settings: ExportSettings | None = None,
        update: bool = False,
        check: Any = None,
        **values: Any,
    ) -> DatasetExport:
        """Export the project; `values` are fields of `ExportSettings`."""
        chosen = settings or ExportSettings(**values)
        job = export_dataset_job(self.project, folder, layout, self.journals, chosen, update, check)
        return run(job)
