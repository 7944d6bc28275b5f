"""The tutorial 'I have a slide': open it, annotate nuclei and tissue, segment a region, and export for QuPath."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt

from napari_sampath.widgets.canvas.slide_layer import slide_of
from napari_sampath.widgets.canvas.viewport import camera
from napari_sampath.widgets.viewer.mouse import Mode

from ..demo.slide_steps import NAME
from ..demo.walk import TIMEOUT_S
from ..gui_driver import wait_until
from .walks import Tutorial

CENTRE = 2390, 1005
"""The place (row, col) of the slide that is annotated: dermis."""
NUCLEI = (948, 2397), (971, 2386), (1057, 2425), (1066, 2483), (1040, 2310)
"""Nuclei (x, y) there."""
HALF_PX = 11
"""Half of the side of the boxes around nuclei."""
NUCLEI_ZOOM, REGION_ZOOM = 2.0, 0.7
"""Magnification of nuclei and of a region, in screen pixels per pixel of the slide."""
BRUSH_STEPS = 35
"""Presses of the key ], each of which makes the brush one pixel larger."""
FILL = 40
"""Opacity of the region in percent, so that it can be seen in a small picture."""
HEAD = "nucleus-cnn"
SLOW, FAST = 900, 350


class SlideTutorial(Tutorial):
    """Annotates nuclei and a region of a slide, segments what is in view, and exports outlines."""

    def prepare(self, data: Path) -> None:
        """Find the slide."""
        self.path = data / "slides" / f"{NAME}.svs"

    def plan(self) -> list[tuple[str, Callable[[], str]]]:
        """List the steps."""
        return [
            ("Open", self._open),
            ("Nuclei", self._nuclei),
            ("Find similar", self._similar),
            ("Region", self._region),
            ("Segment", self._segment),
            ("Export", self._export),
        ]

    def _open(self) -> str:
        self.choose(self.tab("Project").start.image_button, [self.path])
        self.follow_image()
        self._wait_for_pixels()
        self.recorder.picture("tutorial-slide-open")
        slide = slide_of(self.state.image)
        return f"{self.annotator.session.hw} px, {slide.mpp if slide else 0:.3f} um per pixel"

    def _nuclei(self) -> str:
        dock, frame = self.tab("Annotate"), self.recorder.frame
        self.name_class("nucleus")
        frame(SLOW, "The whole slide")
        for zoom in (0.5, 1.0, NUCLEI_ZOOM):
            self._look(zoom)
            frame(FAST, "Mouse wheel: zoom in")
        prefetcher = self.state._prefetcher
        wait_until(
            lambda: not (prefetcher._settle.isActive() or prefetcher.runner.busy),
            TIMEOUT_S,
            "the tiles of the view",
        )
        self.press(dock.modes.one_click)
        frame(FAST, "1 click = 1 object")
        session = self.annotator.session
        for count, (x, y) in enumerate(NUCLEI):
            self.driver.drag([(x - HALF_PX, y - HALF_PX), (x + HALF_PX, y + HALF_PX)])
            wait_until(lambda count=count: len(session.document.objects) > count, TIMEOUT_S, "the object")
            frame(FAST, "Drag a box")
        return self.message_of("Annotate")

    def _similar(self) -> str:
        frame = self.recorder.frame
        self.find_similar("view", frame)
        frame(3 * SLOW, "Proposals are dashed")
        self.recorder.save_animation("tutorial-slide-nuclei")
        return self.message_of("Annotate")

    def _region(self) -> str:
        dock, frame = self.tab("Annotate"), self.recorder.frame
        session, sync = self.annotator.session, self.annotator.layer_sync
        self.name_class("dermis", add=True)
        self.select(dock.rules.mode, "semantic")
        self.select(dock.rules.overlap, "keep")
        frame(SLOW, "Whole regions, Keep others")
        self._look(REGION_ZOOM)
        frame(SLOW, "Zoom out")
        before = len(session.document.objects)
        self.press(dock.modes.buttons[Mode.BRUSH])
        dock.modes.fill.setValue(FILL)
        for _ in range(BRUSH_STEPS):
            self.driver.key(Qt.Key.Key_BracketRight)
        r0, c0, r1, c1 = self._view()
        left, right = c0 + 0.35 * (c1 - c0), c0 + 0.6 * (c1 - c0)
        for number, share in enumerate((0.58, 0.615, 0.65, 0.685)):
            y = r0 + share * (r1 - r0)
            self.driver.drag([(left, y), (right, y)])
            wait_until(lambda: not (sync.drawing or session.large_changes), TIMEOUT_S, "the stroke")
            count = len(session.document.objects) - before
            self._check(count == 1, f"the strokes made {count} objects instead of one")
            frame(SLOW if number == 3 else FAST, "Brush: a region")
        self.driver.drag([(left, r0 + 0.85 * (r1 - r0)), (right, r0 + 0.85 * (r1 - r0))])
        wait_until(lambda: not (sync.drawing or session.large_changes), TIMEOUT_S, "the stroke")
        frame(FAST, "A stroke too many")
        self.driver.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
        frame(SLOW, "Ctrl-Z: undo")
        self.press(dock.modes.buttons[Mode.POINT])
        self.select(dock.rules.mode, "instance")
        self.driver.key(Qt.Key.Key_1)
        return self.message_of("Annotate")

    def _segment(self) -> str:
        dock, frame = self.tab("Auto-segment"), self.recorder.frame
        self._look(1.0)
        self._wait_for_pixels()
        combo = dock.head.combo
        index = next(index for index in range(combo.count()) if HEAD in combo.itemText(index))
        combo.setCurrentIndex(index)
        combo.activated.emit(index)
        self.select(dock.region.combo, "view")
        frame(SLOW, "Auto-segment: a head, the view")
        self.press(dock.run_button)
        wait_until(lambda: not dock.runner.busy, TIMEOUT_S, "the segmentation")
        self._check(dock.result is not None, self.message_of("Auto-segment"))
        frame(2 * SLOW, "Segment: the result")
        self.press(dock.add_button)
        wait_until(lambda: not dock.apply_queue.busy, TIMEOUT_S, "the objects")
        frame(2 * SLOW, "Add objects")
        self.recorder.save_animation("tutorial-slide-segment")
        return self.message_of("Auto-segment")

    def _export(self) -> str:
        dock: Any = self.tab("Export")
        dock.formats.setValue(("geojson",))
        dock.folder.setText(str(self.work / "labels"))
        self.press(dock.export_button)
        wait_until(lambda: not dock.runner.busy, TIMEOUT_S, "the export")
        (file,) = (self.work / "labels").glob("*.geojson")
        count = len(json.loads(file.read_text(encoding="utf-8"))["features"])
        return f"{self.message_of('Export')} {count} outlines"

    def _look(self, zoom: float) -> None:
        image = self.driver.image
        camera(self.viewer).center = tuple(image.data_to_world(CENTRE)[-2:])
        camera(self.viewer).zoom = zoom / float(image.scale[-1])
        self._wait_for_pixels()

    def _view(self) -> tuple[int, int, int, int]:
        from napari_sampath.widgets.canvas.viewport import box_in_view

        return box_in_view(self.viewer, self.driver.image, self.annotator.session.hw)

    def _wait_for_pixels(self) -> None:
        image: Any = self.driver.image
        wait_until(lambda: True, 1, "the events")
        wait_until(lambda: image.data[0].cache.waiting == 0, TIMEOUT_S, "the pixels in view")
