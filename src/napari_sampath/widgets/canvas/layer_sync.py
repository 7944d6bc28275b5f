"""Keep the layers of a session up to date: listen to its signals and rewrite only the changed pixels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QTimer

from ...annotations import Box, bounds, union
from ...arrays import ClassInfo, LocalMask
from . import layers as session_layers
from .appearance import MASK, SCRIBBLE, Outliner, candidate_colors, class_colors, styles_of
from .chunked_paint import ChunkedPainter
from .napari_internals.cropped_visual import CroppedVisual
from .napari_internals.label_tools import move_polygon
from .stroke_input import StrokeInput
from .transform_sync import TransformSync
from .viewport import camera
from .windows.content import Filled, WindowContent, strip_px
from .windows.follower import WindowFollower

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from ...session import Candidate, Session
    from .windows.label_window import LabelWindow

ANSWER_MS = 200
"""Time that a new prompt waits for its mask, so that both are painted in one frame. Without a graphics card, a separate
frame for the prompt delays the mask by 50 ms, because napari holds the GIL while it paints."""


class LayerSync:
    """Keeps layers in sync with a session, and passes brush strokes on the class layer to the session.

    The label layers hold a window of the image, which follows the view (see `WindowFollower`).

    Args:
        viewer: The viewer.
        image: The image layer of the session.
        session: The session.
        say: Receives messages for the user.
    """

    def __init__(self, viewer: Viewer, image: Image, session: Session, say: Callable[[str], object]) -> None:
        self._viewer = viewer
        self._image = image
        self._session = session
        self._scribble: list[LocalMask] = []
        """The parts of the scribble that is shown."""
        self._colored: tuple[tuple[ClassInfo, ...], int] | None = None
        self._candidate_color: tuple[int, int, int] | None = None
        self.only_class = 0
        """Id of the only class that is shown; 0 shows all. Change it with `show_only`."""
        self._styles = styles_of(session.document)
        """Class and line style with which each object was drawn last."""
        self._shown_prompts: tuple[object, ...] = ()
        self._asked: Box | None = None
        """Box of the mask about whose overlap the user is asked."""
        self._content = WindowContent(session.document, lambda: self.window)
        self._follower = WindowFollower(viewer, image, session.hw, self._content.job, lambda: self.drawing)
        self._follower.failed.connect(say)
        self.layers = session_layers.add_layers(
            viewer, image, self.window, self._content.filled, Outliner(session.document)
        )
        self._unanswered = QTimer()
        self._unanswered.setSingleShot(True)
        self._unanswered.setInterval(ANSWER_MS)
        self._unanswered.timeout.connect(self._show_prompts)
        self._painter = ChunkedPainter(self._paint, lambda: strip_px(self.window))
        self._outlines = ChunkedPainter(self._paint_outlines, lambda: strip_px(self.window))
        self._strokes = StrokeInput(
            self.layers.classes,
            session,
            self._follower,
            shown=self._content.classes,
            finish=self._painter.finish,
            repaint=self._paint,
            say=say,
        )
        self._cropped = [
            CroppedVisual(viewer, layer, filled)
            for layer, filled in (
                (self.layers.classes, self._classes_box),
                (self.layers.objects, self._objects_box),
                (self.layers.candidate, self._candidate_box),
                (self.layers.box, self._prompts_box),
            )
        ]
        self._shown_window = self.window
        self._links = self._connect()
        self._transforms = [
            TransformSync(image, self.layers.labels(), self._place),
            TransformSync(image, (self.layers.box, self.layers.prompts)),
        ]
        self._on_zoom()
        self._on_classes()
        self._show_objects()
        self._show_prompts()

    def _show_objects(self) -> None:
        boxes = (obj.box for obj in self._session.document.objects.values())
        filled: Box | None = reduce(union, boxes, None)
        if filled is not None and self.window.whole:
            self._on_document(filled)
        elif filled is not None:
            self._follower.read(self.window)

    def _connect(self) -> list[tuple[Any, Callable[..., object]]]:
        """Connect to the session, the camera and the layers; return the signals and their slots."""
        session = self._session
        links: list[tuple[Any, Callable[..., object]]] = [
            (session.prompts_changed, self._on_prompts),
            (session.candidate_changed, self._on_candidate),
            (session.waiting.changed, self._on_waiting),
            (session.document_changed, self._on_document),
            (session.objects_changed, self._on_objects),
            (session.classes_changed, self._on_classes),
            (camera(self._viewer).events.zoom, self._on_zoom),
            (self._follower.moved, self._on_moved),
            (self.layers.classes.events.selected_label, self._on_selected_label),
        ]
        for signal, slot in links:
            signal.connect(slot)
        return links

    @property
    def drawing(self) -> bool:
        """Whether the user is drawing a brush stroke, or an outline with the right mouse button."""
        return self._strokes.drawing

    @property
    def window(self) -> LabelWindow:
        """The part of the image that the label layers hold."""
        return self._follower.window

    def close(self, hide: bool = False) -> None:
        """Disconnect and remove the helper layers; the label layers stay in the viewer, with `hide` invisible."""
        self._unanswered.stop()
        self._painter.finish()
        self._outlines.drop()
        self._follower.close()
        self._strokes.close()
        for transform in self._transforms:
            transform.close()
        for visual in self._cropped:
            visual.close()
        for signal, slot in self._links:
            signal.disconnect(slot)
        self._links.clear()
        # Strokes would no longer reach the session and would be lost when the image is annotated again.
        self.layers.classes.mode = "pan_zoom"
        self.layers.classes.editable = False
        if hide:
            session_layers.hide((self.layers.classes, self.layers.objects))
        session_layers.remove(self._viewer, self.layers.helpers())

    def show_box(self, box_xyxy: tuple[float, float, float, float] | None, further: bool = False) -> None:
        """Show the box (x0, y0, x1, y1) that is being drawn; None shows the boxes of the prompt.

        With `further`, show the box together with the boxes of the prompt.
        """
        self._shown_prompts = ()
        boxes = self._session.prompts.state.boxes if box_xyxy is None or further else ()
        session_layers.show_boxes(self.layers.box, boxes if box_xyxy is None else (*boxes, box_xyxy))

    def show_scribble(self, mask: LocalMask) -> None:
        """Show a part of a scribble while it is painted."""
        self._scribble.append(mask)
        self._show_mask(mask, SCRIBBLE)

    def _show_mask(self, mask: LocalMask, value: int) -> None:
        """Show the pixels of a mask in the window over what the candidate layer shows."""
        part = self.window.part(bounds(mask))
        if part is None:
            return
        (r0, c0, r1, c1), small = part, self.window.reduce(mask)
        values = self.layers.candidate.data[r0:r1, c0:c1].copy()
        values[small.bitmap[r0 - small.row : r1 - small.row, c0 - small.col : c1 - small.col]] = value
        session_layers.write(self.layers.candidate, part, values)

    def wipe_scribble(self) -> None:
        """Remove the scribble."""
        scribble, self._scribble = self._scribble_box(), []
        if scribble is not None:
            self._on_candidate(scribble, None)

    def _scribble_box(self) -> Box | None:
        box: Box | None = None
        for mask in self._scribble:
            box = union(box, bounds(mask))
        return box

    # The window

    def _place(self) -> dict[str, Any]:
        return session_layers.window_placement(self._image, self.window)

    def _on_moved(self, filled: Filled) -> None:
        """Fill the label layers with those of another window, and move them there."""
        self._painter.drop()
        self._outlines.drop()
        layers, place = self.layers, self._place()
        move_polygon(layers.classes, partial(self._shown_window.moved, filled.window))
        self._shown_window = filled.window
        session_layers.refill(layers.classes, filled.classes, place)
        session_layers.refill(layers.objects, filled.ids, place)
        session_layers.refill(layers.candidate, np.zeros_like(filled.classes), place)
        candidate = self._candidate()
        if candidate is not None:
            self._show_mask(candidate.mask, MASK)
        for mask in self._scribble:
            self._show_mask(mask, SCRIBBLE)
        for box in self._follower.changes():
            self._on_document(box)

    # Boxes outside of which a layer is empty

    def _whole(self) -> Box:
        return (0, 0, *self.window.shape)

    def _classes_box(self) -> Box | None:
        # napari emits no event before a brush stroke ends.
        return self._objects_box() if str(self.layers.classes.mode) == "pan_zoom" else self._whole()

    def _objects_box(self) -> Box | None:
        return self._whole() if self._session.document.objects else None

    def _candidate_box(self) -> Box | None:
        candidate = self._candidate()
        box = union(self._scribble_box(), None if candidate is None else candidate.box)
        return None if box is None else self.window.part(box)

    def _candidate(self) -> Candidate | None:
        """Return the mask to show: the candidate, or else the mask about whose overlap the user is asked."""
        waiting, candidate = self._session.waiting, self._session.prompts.candidate
        return waiting.items[0].candidate if candidate is None and waiting.overlap is not None else candidate

    def _prompts_box(self) -> Box | None:
        return (0, 0, *self._session.hw) if self.layers.box.nshapes else None

    # From the session to the layers

    def _on_prompts(self) -> None:
        if self._session.prompts.state.empty:
            self._show_prompts()
        elif not self._unanswered.isActive():
            self._unanswered.start()

    def _show_prompts(self) -> None:
        """Show the pending prompt, and the prompts whose commits wait for their masks."""
        self._unanswered.stop()
        states = [*(item.state for item in self._session.waiting.items), self._session.prompts.state]
        points = [point for state in states for point in state.points]
        boxes = [box for state in states for box in state.boxes]
        if (shown := (tuple(points), tuple(boxes))) == self._shown_prompts:
            return
        self._shown_prompts = shown
        xy = np.array([(x, y) for x, y, _ in points], dtype=np.float64).reshape(-1, 2)
        session_layers.show_points(self.layers.prompts, xy, [positive for _, _, positive in points])
        session_layers.show_boxes(self.layers.box, boxes)

    def _on_waiting(self) -> None:
        overlap, items = self._session.waiting.overlap, self._session.waiting.items
        old, candidate = self._asked, items[0].candidate if items and overlap is not None else None
        self._asked = None if candidate is None else candidate.box
        if old != self._asked:
            self._on_candidate(old, self._asked)
        if not self._unanswered.isActive():
            self._show_prompts()

    def _on_zoom(self) -> None:
        session_layers.fit_to_zoom(self.layers, float(camera(self._viewer).zoom))

    def _on_candidate(self, old: Box | None, new: Box | None) -> None:
        candidate, changed = self._candidate(), union(old, new)
        part = None if changed is None else self.window.part(changed)
        if part is not None:
            mask = None if candidate is None else self.window.reduce(candidate.mask)
            session_layers.write_mask(self.layers.candidate, mask, part)
        if self._unanswered.isActive():
            self._show_prompts()

    def _on_document(self, box: Box) -> None:
        self._follower.note(box)
        part = self.window.part(box)
        if part is None:
            return
        self._strokes.on_changed(part)
        # Strokes are found by comparing the layer with the session, so paint at once during a stroke.
        if self._strokes.pressed is not None:
            self._paint(part)
        else:
            self._painter.add(part)

    def _paint(self, part: Box) -> None:
        """Paint a box of window pixels as it is in the session."""
        classes, ids = self._content.read(part)
        reclassified = session_layers.write(self.layers.classes, part, classes)
        session_layers.write(self.layers.objects, part, ids, always=reclassified)

    def _on_objects(self) -> None:
        """Redraw the outlines of objects whose review mark changed; other changes are drawn with their pixels."""
        before, box = self._styles, None
        after = self._styles = styles_of(self._session.document)
        before, after = before[: len(after)], after[: len(before)]
        for key in np.flatnonzero((before != after) & (before > 0) & (after > 0)).tolist():
            box = union(box, self._session.document.objects[key].box)
        part = None if box is None else self.window.part(box)
        if part is not None and self._strokes.pressed is None:
            self._outlines.add(part)

    def _paint_outlines(self, part: Box) -> None:
        session_layers.write(self.layers.objects, part, self._content.ids(part), always=True)

    def show_only(self, class_id: int) -> None:
        """Show the objects of one class only; 0 shows all."""
        self.only_class = class_id
        self._on_classes()

    def _on_classes(self) -> None:
        labels, classes, active = (
            self.layers.classes,
            self._session.classes.snapshot,
            self._session.active_class,
        )
        # Set this before the colours, because changing the colours emits the selected label again.
        labels.selected_label = active
        if self.only_class not in {info.id for info in classes}:
            self.only_class = 0
        if (classes, self.only_class) != self._colored:
            self._colored = classes, self.only_class
            for layer in (labels, self.layers.objects):
                session_layers.recolour(layer, class_colors(classes, self.only_class))
        color = next((info.color for info in classes if info.id == active), None)
        if color is not None and color != self._candidate_color:
            self._candidate_color = color
            session_layers.recolour(self.layers.candidate, candidate_colors(color))

    def _on_selected_label(self) -> None:
        label = int(self.layers.classes.selected_label)
        if label != self._session.active_class and label in {info.id for info in self._session.classes}:
            self._session.active_class = label
