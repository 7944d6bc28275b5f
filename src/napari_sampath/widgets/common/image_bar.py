"""A bar that warns if the image in use is not the image that the user sees, with a button that changes this."""

from __future__ import annotations

from qtpy.QtWidgets import QFrame

from ..viewer.image_follower import Notice
from ..viewer.viewer_state import ViewerState
from .controls import button, label, row


class ImageBar(QFrame):
    """Shows `ImageFollower.notice` with its button; hidden while the user sees the image in use."""

    def __init__(self, state: ViewerState) -> None:
        super().__init__()
        self._follower = state.follower
        self._notice: Notice | None = None
        self.setFrameShape(QFrame.Shape.StyledPanel)
        self.text = label(wrap=True)
        self.button = button("Annotate", on_click=self._act)
        layout = row(self.text, self.button, stretch=0)
        layout.setContentsMargins(6, 1, 6, 1)
        self.setLayout(layout)
        self._follower.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show the current notice."""
        notice = self._notice = self._follower.notice
        self.setVisible(notice is not None)
        if notice is not None:
            self.text.setText(notice.text)
            self.button.setText(notice.button)
            self.button.setAccessibleName(notice.button)

    def stop(self) -> None:
        """Stay hidden, because another bar is shown in the same panel."""
        self._follower.changed.disconnect(self.refresh)
        self.hide()

    def _act(self) -> None:
        if self._notice is not None:
            self._notice.act()
