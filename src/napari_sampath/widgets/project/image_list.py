"""List of the images of the open project, with their role in training."""

from __future__ import annotations

from functools import partial

from qtpy.QtCore import QPoint, Qt, Signal
from qtpy.QtGui import QKeyEvent, QShowEvent
from qtpy.QtWidgets import QHeaderView, QMenu, QTreeWidget, QTreeWidgetItem

from ...session.project.content import ProjectImage
from ...session.project.project import Project
from ..common.controls import plain_tooltip
from ..viewer.training.membership import Membership

HEADINGS = ("Image", "Used for", "Slide or case")
SPLITS = {"train": "training", "val": "validation", "test": "test"}
ROWS_SHOWN = 5
HINT = "Double-click an image to open it; right-click it to change what it is used for"


class ImageList(QTreeWidget):
    """Shows the images of a project, which a double click or Enter opens and a menu changes.

    Args:
        membership: Changes the role of an image.
    """

    open_requested = Signal(object)
    """Emitted with the `ProjectImage` that the user wants to open."""

    def __init__(self, membership: Membership) -> None:
        super().__init__()
        self._membership = membership
        self._project: Project | None = None
        self._current: ProjectImage | None = None
        self._shown: object = None
        self.setHeaderLabels(HEADINGS)
        self.setRootIsDecorated(False)
        self.setAccessibleName("Images of the project")
        self.setToolTip(HINT)
        self.setFixedHeight((ROWS_SHOWN + 1) * (self.fontMetrics().lineSpacing() + 6) + 4)
        self.header().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.header().setStretchLastSection(True)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.customContextMenuRequested.connect(self._show_menu)
        self.itemDoubleClicked.connect(lambda item: self.open_requested.emit(_image_of(item)))

    def show_images(self, project: Project, current: ProjectImage | None) -> None:
        """Show the images of a project; the row of the current one is selected."""
        self._project, self._current = project, current
        if self.isVisible():
            self._show_rows(project, current)

    def showEvent(self, event: QShowEvent | None) -> None:
        """Look up the files again: while the list is hidden, each click on an image would look up all of them."""
        super().showEvent(event)
        if self._project is not None:
            self._show_rows(self._project, self._current)

    def _show_rows(self, project: Project, current: ProjectImage | None) -> None:
        rows = [(image, role(project, image), project.slide_of(image)) for image in project.images.values()]
        if (rows, current) == self._shown:
            return
        self._shown = rows, current
        self.clear()
        for image, used_for, slide in rows:
            item = QTreeWidgetItem([image.name, used_for, slide])
            item.setData(0, Qt.ItemDataRole.UserRole, image)
            item.setToolTip(0, plain_tooltip(str(project.file_of(image) or f"missing: {image.file}")))
            self.addTopLevelItem(item)
            if current is not None and image.digest == current.digest:
                self.setCurrentItem(item)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Open the selected image with Enter."""
        item = self.currentItem()
        is_enter = event is not None and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter)
        if event is None or item is None or not is_enter:
            super().keyPressEvent(event)
            return
        event.accept()
        self.open_requested.emit(_image_of(item))

    def menu_of(self, image: ProjectImage) -> QMenu:
        """Make the menu of an image."""
        menu, change, project = QMenu(self), self._membership, self._project
        menu.addAction("Open", partial(self.open_requested.emit, image))
        text = "Remove from the training set" if image.training else "Add to the training set"
        menu.addAction(text, partial(change.change_image, image, not image.training))
        splits = menu.addMenu("Use its slide or case for")
        splits.setEnabled(project is not None and bool(project.split_of(image)))
        for split, name in SPLITS.items():
            splits.addAction(name.capitalize(), partial(change.set_split, image, split))
        menu.addSeparator()
        menu.addAction("Remove from the project", partial(change.change_image, image, None))
        return menu

    def _show_menu(self, place: QPoint) -> None:
        item = self.itemAt(place) or self.currentItem()
        if item is not None:
            self.menu_of(_image_of(item)).popup(self.viewport().mapToGlobal(place))


def role(project: Project, image: ProjectImage) -> str:
    """Describe what an image of a project is used for."""
    if project.file_of(image) is None:
        return "file missing"
    if not image.training:
        return "not for training"
    return SPLITS.get(project.split_of(image), "nothing verified yet")


def _image_of(item: QTreeWidgetItem) -> ProjectImage:
    image: ProjectImage = item.data(0, Qt.ItemDataRole.UserRole)
    return image
