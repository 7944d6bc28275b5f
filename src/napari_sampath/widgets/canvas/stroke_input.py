"""Pass what the user draws with napari's tools on the class layer to the session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QTimer

from ...annotations import Box, bounds, union
from ...errors import SampathError
from .layers import write
from .napari_internals.label_tools import is_outlining, outline_of
from .strokes import Stroke, stroke_of

if TYPE_CHECKING:
    from napari.layers import Labels

    from ...arrays import IntArray, LocalMask
    from ...session import Session
    from .windows.follower import WindowFollower

FILL_LEAVES_VIEW = (
    "The area to fill continues outside of the view; zoom out until all of it is in view, "
    "or paint it with the brush."
)


class StrokeInput:
    """Translates strokes, polygons, outlines and fills on the class layer to strokes of a session.

    Args:
        labels: The class layer.
        session: The session.
        follower: The window that the layer holds.
        shown: Returns the class ids of the session in a box of window pixels.
        finish: Called before a stroke; paints what waits to be painted.
        repaint: Paints a box of window pixels as it is in the session.
        say: Receives messages for the user.
    """

    def __init__(
        self,
        labels: Labels,
        session: Session,
        follower: WindowFollower,
        *,
        shown: Callable[[Box], IntArray],
        finish: Callable[[], object],
        repaint: Callable[[Box], object],
        say: Callable[[str], object],
    ) -> None:
        self._labels = labels
        self._session = session
        self._follower = follower
        self._shown = shown
        self._finish = finish
        self._repaint = repaint
        self._say = say
        self.pressed: tuple[int, int] | None = None
        """Image pixel (row, col) at which the current stroke began; None if there is no stroke."""
        self._under_outline: Box | None = None
        """Window pixels that changed during an outline that the user draws with the right mouse button."""
        self._links: list[tuple[Any, Callable[..., object]]] = [(labels.events.paint, self._on_paint)]
        outline = outline_of(labels)
        if outline is not None:
            self._links.append((outline.events.active, self._on_outline))
        for event, slot in self._links:
            event.connect(slot)
        labels.mouse_drag_callbacks.append(self._on_press)

    @property
    def drawing(self) -> bool:
        """Whether the user is drawing a brush stroke, or an outline with the right mouse button."""
        return self.pressed is not None or is_outlining(self._labels)

    def close(self) -> None:
        """Stop listening to the layer."""
        for event, slot in self._links:
            event.disconnect(slot)
        self._links.clear()
        self._labels.mouse_drag_callbacks.remove(self._on_press)

    def on_changed(self, part: Box) -> None:
        """Remember window pixels that the session changes while the user draws an outline."""
        if is_outlining(self._labels):
            self._under_outline = union(self._under_outline, part)

    def _on_press(self, labels: Labels, event: Any) -> Iterator[None]:
        """Record where a stroke begins: napari's paint event omits pixels that already have the class."""
        self._finish()
        self._follower.settle()
        row, col = np.round(labels.world_to_data(event.position)[-2:]).astype(int).tolist()
        self.pressed = self._follower.window.pixel(row, col)
        yield
        while event.type == "mouse_move":
            yield
        # Wait for napari's paint event, which is not emitted if the stroke changes no pixel.
        QTimer.singleShot(0, self._on_release)

    def _on_release(self) -> None:
        self.pressed = None

    def _on_paint(self, event: Any) -> None:
        labels, window = self._labels, self._follower.window
        stroke = stroke_of(event.value, labels.data)
        r0, c0, r1, c1 = box = stroke.box
        if not np.array_equal(labels.data[r0:r1, c0:c1], stroke.after):
            # napari writes a polygon after this event and overwrites the session's pixels.
            QTimer.singleShot(0, partial(self._repaint_later, box))
        shown = self._shown(box)
        # Changes that are still being computed are on the layer, but not in the session.
        pending = len(self._session.large_changes) > 0
        changed = stroke.touched if pending else stroke.touched & (stroke.after != shown)
        start_rc, self.pressed = self.pressed, None
        try:
            if str(labels.mode) == "fill" and self._goes_on(stroke):
                self._say(FILL_LEAVES_VIEW)
                write(labels, box, shown)
                return
            for value in np.unique(stroke.after[changed]).tolist():
                mask = window.enlarge(changed & (stroke.after == value), box)
                self._session.paint_when_ready(mask, int(value), start_rc, partial(self._restore, mask))
        except SampathError as error:
            self._say(str(error))
            write(labels, box, self._shown(box))

    def _restore(self, mask: LocalMask, _error: SampathError) -> None:
        """Remove a stroke from the layer that could not be added to the session."""
        part = self._follower.window.part(bounds(mask))
        if part is not None:
            self._repaint_later(part)

    def _goes_on(self, stroke: Stroke) -> bool:
        """Return whether a fill touches a border of the window inside the image, or acts on all pixels of a class."""
        window = self._follower.window
        r0, c0, r1, c1 = stroke.box
        top, left, bottom, right = window.box
        ends = (
            (r0 == 0 and top > 0 and stroke.touched[0].any())
            or (c0 == 0 and left > 0 and stroke.touched[:, 0].any())
            or (r1 == window.shape[0] and bottom < window.hw[0] and stroke.touched[-1].any())
            or (c1 == window.shape[1] and right < window.hw[1] and stroke.touched[:, -1].any())
        )
        return bool(ends) or not (self._labels.contiguous or window.contains((0, 0, *window.hw)))

    def _on_outline(self) -> None:
        box = self._under_outline
        if box is not None and not is_outlining(self._labels):
            # Aborting an outline restores the pixels from before the outline.
            self._under_outline = None
            QTimer.singleShot(0, partial(self._repaint_later, box))

    def _repaint_later(self, box: Box) -> None:
        if self._links:
            self._repaint(box)
