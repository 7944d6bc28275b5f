"""Prepares what the camera shows for clicks, once it has come to rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer

from .mouse import camera, centre_of_view
from .workers import JobRunner

if TYPE_CHECKING:
    from .workbench import Workbench

REST_MS = 300
"""So long the camera keeps still before anything is computed for where it is."""


class Ahead(QObject):
    """Encodes the tiles around the middle of the view while nothing else is computed, without a word of it.

    Args:
        bench: The workbench of the viewer.
    """

    def __init__(self, bench: Workbench) -> None:
        super().__init__(bench)
        self._bench = bench
        self._runner = JobRunner(self)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self._prepare)
        self._events = (camera(bench.viewer).events.center, camera(bench.viewer).events.zoom)
        for event in self._events:
            event.connect(self._on_camera)
        bench.image_chosen.connect(self._runner.cancel)

    def close(self) -> None:
        """Stop, and let go of the viewer."""
        for event in self._events:
            event.disconnect(self._on_camera)
        self._rest.stop()
        self._runner.cancel()

    def _on_camera(self) -> None:
        self._rest.start()

    def _prepare(self) -> None:
        bench = self._bench
        session, image = bench.session, bench.image
        if session is None or image is None or not bench.ready:
            return
        centre = centre_of_view(bench.viewer, image)
        if session.prepared(centre):
            return
        if bench.runner.busy or not bench.prompts.idle:
            self._rest.start()
            return
        self._runner.start(session.encode_job(centre), "preparing what is in view", lambda _count: None)
