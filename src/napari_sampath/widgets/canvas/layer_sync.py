"""Shows a session on layers: listens to its signals and rewrites only what changed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QTimer

from ...annotations import bounds, union
from ...errors import SampathError
from . import layers as shown
from .chunked_paint import ChunkedPainter
from .label_tools import is_outlining, outline_of
from .napari_internals.cropped_visual import CroppedVisual
from .strokes import stroke_of
from .transform_sync import TransformSync
from .viewport import camera

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari.layers import Image, Labels
    from napari.viewer import Viewer

    from ...annotations import Box
    from ...arrays import ClassInfo, LocalMask
    from ...session import Session


ANSWER_MS = 200
"""So long a new prompt waits for its answer to be painted together with it: one picture instead of two. On two cores
without a graphics card the other picture held the answer up by 50 ms: napari paints its window with Python locked."""


class LayerSync:
    """The layers of one session, kept equal to it; brush strokes on the class layer go back into the session.

    Args:
        viewer: The viewer.
        image: The image layer the session was made from.
        session: The session.
        say: Takes a sentence for the user.
    """

    def __init__(self, viewer: Viewer, image: Image, session: Session, say: Callable[[str], object]) -> None:
        self._viewer = viewer
        self._session = session
        self._say = say
        self._scribble: Box | None = None
        self._whole: Box = (0, 0, *session.hw)
        self._pressed: tuple[int, int] | None = None
        self._under_outline: Box | None = None
        self._colored: tuple[ClassInfo, ...] | None = None
        self.layers = shown.add_layers(viewer, image, session.hw, session.document.instance_map.filled_boxes)
        self._unanswered = QTimer()
        self._unanswered.setSingleShot(True)
        self._unanswered.setInterval(ANSWER_MS)
        self._unanswered.timeout.connect(self._show_prompts)
        self._strips = ChunkedPainter(self._paint)
        shown.recolour(self.layers.candidate, shown.candidate_colormap())
        self._drawn = [
            CroppedVisual(viewer, layer, filled)
            for layer, filled in (
                (self.layers.classes, self._classes_box),
                (self.layers.objects, self._objects_box),
                (self.layers.candidate, self._candidate_box),
                (self.layers.box, self._prompts_box),
            )
        ]
        self._links: list[tuple[Any, Callable[..., object]]] = [
            (session.prompts_changed, self._on_prompts),
            (session.candidate_changed, self._on_candidate),
            (session.document_changed, self._on_document),
            (session.classes_changed, self._on_classes),
            (camera(viewer).events.zoom, self._on_zoom),
            (self.layers.classes.events.paint, self._on_paint),
            (self.layers.classes.events.selected_label, self._on_selected_label),
        ]
        outline = outline_of(self.layers.classes)
        if outline is not None:
            self._links.append((outline.events.active, self._on_outline))
        for signal, slot in self._links:
            signal.connect(slot)
        self._in_place = TransformSync(image, self.layers.all())
        self.layers.classes.mouse_drag_callbacks.append(self._on_press)
        self._on_zoom()
        self._on_classes()
        drawn: Box | None = None
        for annotation in session.document.objects.values():
            drawn = union(drawn, annotation.box)
        if drawn is not None:
            self._on_document(drawn)
        self._show_prompts()

    @property
    def drawing(self) -> bool:
        """True while the brush is down, or an outline of the right mouse button is open."""
        return self._pressed is not None or is_outlining(self.layers.classes)

    def close(self) -> None:
        """Stop listening and take the helper layers away; the label layers stay for the user."""
        self._unanswered.stop()
        self._strips.finish()
        self._in_place.close()
        for one in self._drawn:
            one.close()
        for signal, slot in self._links:
            signal.disconnect(slot)
        self._links.clear()
        self.layers.classes.mouse_drag_callbacks.remove(self._on_press)
        # Nobody would notice a stroke from now on, and it would be gone when the image is annotated again.
        self.layers.classes.mode = "pan_zoom"
        self.layers.classes.editable = False
        shown.remove(self._viewer, self.layers.helpers())

    def show_box(self, box_xyxy: tuple[float, float, float, float] | None, further: bool = False) -> None:
        """Show a box (x0, y0, x1, y1) that is not yet the prompt, and if further the prompt's own; None for those."""
        own = self._session.prompts.state.boxes if box_xyxy is None or further else ()
        shown.show_boxes(self.layers.box, own if box_xyxy is None else (*own, box_xyxy))

    def show_scribble(self, mask: LocalMask) -> None:
        """Show a piece of a scribble while it is painted."""
        box = bounds(mask)
        self._scribble = union(self._scribble, box)
        under = self.layers.candidate.data[mask.slices]
        shown.write(self.layers.candidate, box, np.where(mask.bitmap, shown.SCRIBBLE, under))

    def wipe_scribble(self) -> None:
        """Take the scribble away again."""
        scribble, self._scribble = self._scribble, None
        if scribble is not None:
            self._on_candidate(scribble, None)

    def _classes_box(self) -> Box | None:
        # A brush is told of when the stroke has ended.
        return self._objects_box() if str(self.layers.classes.mode) == "pan_zoom" else self._whole

    def _objects_box(self) -> Box | None:
        return self._whole if self._session.document.objects else None

    def _candidate_box(self) -> Box | None:
        candidate = self._session.prompts.candidate
        return union(self._scribble, None if candidate is None else candidate.box)

    def _prompts_box(self) -> Box | None:
        return self._whole if self.layers.box.nshapes else None

    def _on_prompts(self) -> None:
        if self._session.prompts.state.empty:
            self._show_prompts()
        elif not self._unanswered.isActive():
            self._unanswered.start()

    def _show_prompts(self) -> None:
        self._unanswered.stop()
        prompts = self._session.prompts.state
        points = list(prompts.points)
        xy = np.array([(x, y) for x, y, _ in points], dtype=np.float64).reshape(-1, 2)
        shown.show_points(self.layers.prompts, xy, [positive for _, _, positive in points])
        shown.show_boxes(self.layers.box, prompts.boxes)

    def _on_zoom(self) -> None:
        shown.fit_to_zoom(self.layers, float(camera(self._viewer).zoom))

    def _on_candidate(self, old: Box | None, new: Box | None) -> None:
        candidate = self._session.prompts.candidate
        mask = None if candidate is None else candidate.mask
        shown.write_mask(self.layers.candidate, mask, union(old, new))
        if self._unanswered.isActive():
            self._show_prompts()

    def _on_document(self, box: Box) -> None:
        if is_outlining(self.layers.classes):
            self._under_outline = union(self._under_outline, box)
        # Under a brush everything is painted at once: a stroke is told by what the layer shows besides.
        if self._pressed is not None:
            self._paint(box)
        else:
            self._strips.add(box)

    def _paint(self, box: Box) -> None:
        r0, c0, r1, c1 = box
        document = self._session.document
        shown.write(self.layers.classes, box, document.class_map[r0:r1, c0:c1])
        shown.write(self.layers.objects, box, document.instance_map[r0:r1, c0:c1])

    def _on_classes(self) -> None:
        labels, classes = self.layers.classes, self._session.classes.snapshot
        # First the label: a change of colours announces the selected label once more.
        labels.selected_label = self._session.active_class
        if classes != self._colored:
            self._colored = classes
            shown.recolour(labels, shown.class_colormap(classes))

    def _on_press(self, labels: Labels, event: Any) -> Iterator[None]:
        """Note where a stroke begins: what napari tells of it leaves out pixels that have the class already."""
        self._strips.finish()
        row, col = np.round(labels.world_to_data(event.position)[-2:]).astype(int).tolist()
        self._pressed = row, col
        yield
        while event.type == "mouse_move":
            yield
        # After napari has told of the stroke, which it does not if no pixel has changed.
        QTimer.singleShot(0, self._let_go)

    def _let_go(self) -> None:
        self._pressed = None

    def _on_paint(self, event: Any) -> None:
        labels, document = self.layers.classes, self._session.document
        stroke = stroke_of(event.value, labels.data)
        r0, c0, r1, c1 = box = stroke.box
        if not np.array_equal(labels.data[r0:r1, c0:c1], stroke.after):
            # napari writes it when this is done, over what the session makes of it here.
            QTimer.singleShot(0, partial(self._write_again, box))
        changed = stroke.touched & (stroke.after != document.class_map[r0:r1, c0:c1])
        strokes = [
            (value, *np.nonzero(changed & (stroke.after == value)))
            for value in np.unique(stroke.after[changed])
        ]
        start_rc, self._pressed = self._pressed, None
        for value, rows, cols in strokes:
            try:
                self._session.paint(rows + r0, cols + c0, int(value), start_rc=start_rc)
            except SampathError as error:
                self._say(str(error))
                shown.write(labels, box, document.class_map[r0:r1, c0:c1])
                return

    def _on_outline(self) -> None:
        box = self._under_outline
        if box is not None and not is_outlining(self.layers.classes):
            # An outline that is given up puts back what was there when it began.
            self._under_outline = None
            QTimer.singleShot(0, partial(self._write_again, box))

    def _write_again(self, box: Box) -> None:
        if self._links:
            self._paint(box)

    def _on_selected_label(self) -> None:
        chosen = int(self.layers.classes.selected_label)
        if chosen != self._session.active_class and chosen in {info.id for info in self._session.classes}:
            self._session.active_class = chosen
