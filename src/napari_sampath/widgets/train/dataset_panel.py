"""Show the training dataset: its folder, how images are grouped into slides, and its content."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QWidget

from ...files.messages import plural
from ...formats.dataset.manifest import slide_in
from ..common.controls import (
    button,
    column,
    combo_box,
    elided_label,
    form,
    label,
    plain_tooltip,
    row,
    set_items,
)
from .text_table import Row, TextTable

if TYPE_CHECKING:
    from ...training.rounds.rounds import DatasetSummary

SLIDE_ENDS_BEFORE = ("", "-", "_", " ", ".")
"""Text that follows the slide name in an image name; "" makes each image a separate slide."""
SLIDES_HINT = (
    "How images are grouped into slides; each slide is used either for training or for validation, "
    "because scores would otherwise be too high"
)
SPLITS = {"train": "training", "val": "validation", "test": "test"}
"""Split -> heading in the table."""


class DatasetPanel(QWidget):
    """Shows a `DatasetSummary`, in which the user can select another folder or grouping."""

    folder_selected = Signal(object)
    """Emitted with the `Path` of the folder that the user selected."""
    grouping_selected = Signal(str)
    """Emitted with the entry of `SLIDE_ENDS_BEFORE` that the user selected."""

    def __init__(self) -> None:
        super().__init__()
        self._folder: Path | None = None
        self.folder = elided_label()
        self.folder_button = button(
            "Open…", "Open a project, or choose a folder for a new one", self._choose_folder
        )
        self.slides = combo_box(SLIDES_HINT)
        self.table = TextTable()
        self.text = label(wrap=True)
        folder_row = row(self.folder, self.folder_button, stretch=0)
        column(form(("Project", folder_row), ("Slides", self.slides)), self.table, self.text, parent=self)
        self.slides.activated.connect(lambda: self.grouping_selected.emit(self.slides.currentData()))

    def show_dataset(
        self, folder: Path | None, summary: DatasetSummary | None, image_name: str, grouping: str | None
    ) -> None:
        """Show a dataset.

        Args:
            folder: Folder of the dataset; None if none is selected.
            summary: Content of the dataset; None if it has no samples.
            image_name: Name of the open image, as an example for the grouping; "" if there is none.
            grouping: The entry of `SLIDE_ENDS_BEFORE` in use; None keeps the selection.
        """
        self._folder = folder
        self.folder.setText("none yet" if folder is None else folder.name)
        self.folder.setToolTip("" if folder is None else plain_tooltip(str(folder)))
        selected = self.slides.currentData() if grouping is None else grouping
        groupings = dict.fromkeys((*SLIDE_ENDS_BEFORE, selected or ""))
        set_items(self.slides, [(_describe_grouping(end, image_name), end) for end in groupings], selected)
        self.slides.setEnabled(folder is not None)
        shown = summary if folder is not None else None
        self.table.show_rows([] if shown is None else _rows(shown))
        self.table.setVisible(shown is not None)
        self.text.setText(_describe(shown) if folder is not None else "")

    def _choose_folder(self) -> None:
        start = str(self._folder or Path.home())
        folder = QFileDialog.getExistingDirectory(self, "Folder of the project", start)
        if folder:
            self.folder_selected.emit(Path(folder))


def _describe_grouping(ends_before: str, image_name: str) -> str:
    if not ends_before:
        return "each image is a slide"
    slide = slide_in(image_name, ends_before)
    return f"name before the first '{ends_before}'" + (f": {slide}" if slide else "")


def _rows(summary: DatasetSummary) -> list[Row]:
    splits = [split for split in SPLITS if split in summary.images]
    rows: list[Row] = [
        (None, ("", *(SPLITS[split] for split in splits))),
        (None, ("images", *(str(summary.images[split]) for split in splits))),
    ]
    for index, info in enumerate(summary.classes):
        areas = (summary.annotated_px.get(split, ()) for split in splits)
        texts = [_format_area(area[index] if index < len(area) else 0) for area in areas]
        rows.append((info.color if info.id else None, (info.name, *texts)))
    return rows


def _describe(summary: DatasetSummary | None) -> str:
    if summary is None:
        return "No image in the training set has verified labels yet."
    verified_px = sum(map(sum, summary.annotated_px.values()))
    percent = 100 * verified_px / summary.total_px if summary.total_px else 0
    images = sum(summary.images.values())
    slides = f" of {summary.slides} slides" if summary.slides < images else ""
    text = f"{plural(images, 'image')}{slides}; {percent:.0f} % of all pixels are verified."
    if not summary.images.get("val"):
        text += " Annotate an image of another slide for validation."
    return "\n".join((text, *summary.problems[:2]))


def _format_area(pixels: int) -> str:
    if pixels >= 1e6:
        return f"{pixels / 1e6:.1f} Mpx"
    return f"{pixels / 1e3:.0f} kpx" if pixels >= 1e4 else f"{pixels} px"
