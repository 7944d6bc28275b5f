"""Check that a dock fits into its window."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QAbstractButton, QComboBox, QLabel, QWidget


def assert_nothing_cut_off(viewer: Any, dock: Any) -> None:
    """Assert that labels, buttons and combo boxes of a dock are not cut off in a window of 1,280 x 800 px."""
    width = dock.viewport().width()
    assert dock.widget().width() <= width
    window = viewer.window._qt_window
    assert (window.width(), window.height()) == (1280, 800)
    for child in dock.findChildren(QWidget):
        if not child.isVisible() or not isinstance(child, (QAbstractButton, QComboBox, QLabel)):
            continue
        right = child.mapTo(dock.viewport(), child.rect().topRight()).x()
        if isinstance(child, QComboBox):
            assert child.width() >= child.minimumSizeHint().width(), child.currentText()
            continue
        assert right < width, f"{child.text()!r} ends at {right} of {width} px"
        if isinstance(child, QAbstractButton):
            assert child.width() >= child.minimumSizeHint().width(), child.text()
        elif child.wordWrap():
            assert child.height() >= child.heightForWidth(child.width()), child.text()
        else:
            assert child.width() >= child.sizeHint().width(), child.text()
