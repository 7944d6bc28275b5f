"""Select the head to run and the part of the image to segment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QWidget

from ...annotations import Box
from ...tiling import SINGLE_TILE_PX
from ..canvas.viewport import box_in_view
from ..common.controls import button, combo_box, row, select, set_items
from ..viewer.viewer_state import ViewerState

HEAD_HINT = (
    "The trained head to run; the head of your project, or the one that fits your classes, is proposed"
)
MAGNIFICATION_HINT = (
    "Size of structures in the image compared with the images that the head was trained on; change it if your image "
    "was taken at another magnification. Differences between known scales (um per pixel) are already corrected"
)
MAGNIFICATIONS = {
    "as in training": 1.0,
    "twice as large": 2.0,
    "4 times as large": 4.0,
    "half as large": 0.5,
    "a quarter as large": 0.25,
}
"""Entry -> size of the structures in the image compared with those in the training images."""
REGIONS = {"image": "the whole image", "view": "the view", "box": "the box prompt"}


class HeadSelector(QWidget):
    """Drop-down list of the accepted head, the shipped heads, and heads that the user loaded from files."""

    file_added = Signal()
    """Emitted when the user has added and selected a file."""
    head_selected = Signal()
    """Emitted when the user has selected another head in the list."""

    def __init__(self) -> None:
        super().__init__()
        self._files: list[Path] = []
        self._entries: list[tuple[str, str]] = []
        self.combo = combo_box(HEAD_HINT)
        self.chosen = False
        """Whether the user selected the head; a proposal never replaces it."""
        self.combo.activated.connect(self._on_activated)
        self.file_button = button("File…", "Load a head (bundle) from a file", self._choose_file)
        self.setLayout(row(self.combo, self.file_button, stretch=0))

    def value(self) -> str | None:
        """Return the name of a shipped head or the path of a bundle; None if there is no head."""
        head: str | None = self.combo.currentData()
        return head

    def setValue(self, head: str | None) -> None:
        """Select a head in the list without emitting a signal; a proposal does not replace it."""
        self.chosen = True
        select(self.combo, head)

    def propose(self, head: str | None) -> None:
        """Select a head that fits, unless the user has selected one."""
        if head is not None and not self.chosen:
            select(self.combo, head)

    def _on_activated(self) -> None:
        self.chosen = True
        self.head_selected.emit()

    def show_heads(self, accepted: Path | None, shipped: Sequence[str]) -> None:
        """List the heads; the selected head stays selected."""
        entries = [
            *([] if accepted is None else [(f"{accepted.stem} (yours)", str(accepted))]),
            *((name, name) for name in shipped),
            *((path.name, str(path)) for path in self._files),
        ]
        if entries != self._entries:
            self._entries = entries
            set_items(self.combo, entries, self.value())

    def _choose_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, "Trained head", "", "Heads (*.safetensors);;All files (*)"
        )
        if path:
            self._files.append(Path(path))
            self._entries = [*self._entries, (Path(path).name, str(path))]
            set_items(self.combo, self._entries, str(path))
            self.chosen = True
            self.file_added.emit()


class RegionSelector:
    """Drop-down list of the regions of the current image that can be segmented."""

    def __init__(self, state: ViewerState) -> None:
        self._state = state
        self.combo = combo_box("The part of the image to segment; nothing else is computed")
        set_items(self.combo, [(text, name) for name, text in REGIONS.items()])

    def suggest(self) -> None:
        """Select the whole image if it is small, otherwise the view."""
        session = self._state.session
        if session is not None:
            select(self.combo, "view" if max(session.hw) > SINGLE_TILE_PX else "image")

    @property
    def is_whole(self) -> bool:
        """Whether the whole image is selected."""
        return bool(self.combo.currentData() == "image")

    def value(self) -> Box | None:
        """Return the selected region (r0, c0, r1, c1) in pixels; None if it is empty."""
        session, image = self._state.session, self._state.image
        if session is None or image is None:
            return None
        box: Box = (0, 0, *session.hw)
        if self.combo.currentData() == "view":
            box = box_in_view(self._state.viewer, image, session.hw)
        elif self.combo.currentData() == "box":
            prompt = session.prompts.state.box
            if prompt is None:
                return None
            x0, y0, x1, y1 = prompt
            box = int(y0), int(x0), min(session.hw[0], int(y1) + 1), min(session.hw[1], int(x1) + 1)
        return box if box[2] > box[0] and box[3] > box[1] else None
