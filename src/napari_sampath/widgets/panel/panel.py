"""The SamPath panel: a header and one tab for each dock."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QTabWidget, QVBoxLayout, QWidget

from ..common.base_dock import MIN_WIDTH_PX, Dock
from ..common.image_bar import ImageBar
from ..common.removable import Removable, forget
from ..project.dock import ProjectDock
from ..viewer.viewer_state import ViewerState, viewer_state_of
from .header import PanelHeader
from .help_pages import open_help, page_address

TABS = {
    "Project": "project.dock:ProjectDock",
    "Annotate": "annotate.dock:AnnotateDock",
    "Objects": "objects.dock:ObjectsDock",
    "Auto-segment": "segment.dock:SegmentDock",
    "Train": "train.dock:TrainDock",
    "Export": "export.dock:ExportDock",
}
"""Title -> module and class of its dock."""


class SamPathPanel(Removable, QWidget):
    """All docks in one panel, below a header that always shows the image, the project and the running work.

    Each dock is created when its tab is shown for the first time.

    Args:
        napari_viewer: The viewer, or napari's public proxy of it.
        state: The viewer state to use; by default the state of the viewer.
    """

    def __init__(self, napari_viewer: Any, state: ViewerState | None = None) -> None:
        super().__init__()
        self.state = state or viewer_state_of(napari_viewer)
        self._viewer = napari_viewer
        self._seen_image = False
        self.header = PanelHeader(self.state)
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        self.tabs.setUsesScrollButtons(False)
        self.tabs.setElideMode(Qt.TextElideMode.ElideNone)
        self.tabs.tabBar().setExpanding(True)
        self.tabs.tabBar().setAccessibleName("Parts of the panel")
        self.tabs.setStyleSheet("QTabBar::tab { padding: 4px 5px; margin: 0px 1px; min-width: 0px; }")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(self.header)
        self.image_bar = ImageBar(self.state)
        layout.addWidget(self.image_bar)
        layout.addWidget(self.tabs, 1)
        self.docks: dict[str, Dock] = {}
        """Title of a tab -> its dock, if it was shown."""
        for title in TABS:
            page = QWidget()
            QVBoxLayout(page).setContentsMargins(0, 0, 0, 0)
            self.tabs.addTab(page, title)
        key = id(self)
        self.destroyed.connect(lambda: forget(key))
        self.header.help_button.setVisible(bool(page_address("index.md")))
        self.header.help_button.clicked.connect(
            lambda: open_help(self.tabs.tabText(self.tabs.currentIndex()))
        )
        self.tabs.currentChanged.connect(self._on_tab)
        self.state.image_chosen.connect(self._on_image)
        self.show_tab("Annotate" if self.state.images() else "Project")
        self._dock("Project")
        self.state.start()

    def show_tab(self, title: str) -> Dock:
        """Show a tab, and return its dock."""
        index = list(TABS).index(title)
        if self.tabs.currentIndex() == index:
            return self._dock(title)
        self.tabs.setCurrentIndex(index)
        return self.docks[title]

    def minimumSizeHint(self) -> QSize:
        """Return a size at which the tabs and the header are not cut off."""
        width = max(MIN_WIDTH_PX, self.tabs.tabBar().sizeHint().width())
        widths = [dock.minimumSizeHint().width() for dock in self.docks.values()]
        return QSize(max([width, *widths]), 300)

    def _on_tab(self, index: int) -> None:
        self._dock(list(TABS)[index])

    def _dock(self, title: str) -> Dock:
        if title not in self.docks:
            module, name = TABS[title].split(":")
            make: Callable[..., Dock] = getattr(
                import_module(f"{__package__.rpartition('.')[0]}.{module}"), name
            )
            dock = self.docks[title] = make(self._viewer, self.state)
            layout = self.tabs.widget(list(TABS).index(title)).layout()
            layout.addWidget(dock)
            bar = getattr(dock, "image_bar", None)
            if isinstance(bar, ImageBar):
                bar.stop()
        return self.docks[title]

    def _on_image(self) -> None:
        """Show the Annotate tab for the first image, unless the user works on a project or a folder."""
        project = self.docks.get("Project")
        folder = isinstance(project, ProjectDock) and project.controller.queue is not None
        if not self._seen_image and self.state.training.project is None and not folder:
            self.show_tab("Annotate")
        self._seen_image = True
