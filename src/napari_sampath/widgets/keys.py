"""The keys of annotating, bound to one viewer's canvas and given back when it ends.

napari asks the active layer before the viewer, so the keys are bound on the session's own layers and, for
all other layers, on the viewer. Checked against napari 0.9's defaults: on the session's layers 1 to 9 and M
lose their napari meaning (tools, which keep their letters E, P, F, L, Z; and "new label", which makes no
sense for classes); Ctrl-Z and Ctrl-Shift-Z go to the session's history instead of the layer's. Space does
what it always did, and also moves the image while prompting. Every other layer keeps its own keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from napari.layers import Layer
    from napari.viewer import Viewer

    from .mouse import MouseTool


@dataclass(frozen=True, slots=True)
class Key:
    """One key and what it does."""

    key: str
    """In napari's notation."""
    shown: str
    """As the dock shows it; "" if another line covers it."""
    text: str
    """What it does, in the user's words."""
    method: str
    """Name of the method that does it."""
    arguments: tuple[int, ...] = ()


KEYS = (
    Key("Enter", "Enter", "commit", "commit"),
    Key("Escape", "Esc", "clear", "clear"),
    Key("M", "M", "next candidate", "next_candidate"),
    Key("Backspace", "Backspace", "one back", "remove_last_prompt"),
    Key("Control-Z", "Ctrl-Z", "undo", "undo"),
    Key("Control-Shift-Z", "Ctrl-Shift-Z", "redo", "redo"),
    Key("1", "1 … 9", "choose class", "choose_class", (1,)),
    *(Key(str(number), "", "choose class", "choose_class", (number,)) for number in range(2, 10)),
    Key("R", "R", "reclassify object", "reclassify_under_mouse"),
    Key("Delete", "Delete", "remove object", "delete_under_mouse"),
    Key("Q", "Q", "preview on/off", "toggle_preview"),
)


class KeyMap:
    """Keys bound to a viewer and some of its layers, until `close`.

    Args:
        viewer: The viewer.
        layers: Layers on which the keys come before napari's own.
        target: Has the methods that `KEYS` names.
        mouse: Told when the space bar is held.
    """

    def __init__(self, viewer: Viewer, layers: Sequence[Layer], target: object, mouse: MouseTool) -> None:
        self._viewer = viewer
        self._mouse = mouse
        self._undo: list[tuple[Any, Any, Any]] = []
        for one in KEYS:
            run = partial(getattr(target, one.method), *one.arguments)
            for place in (viewer, *layers):
                self._bind(place, one.key, _callback(run))
        self._bind(viewer, "Space", self._hold_to_move)

    def close(self) -> None:
        """Give the keys back to whom they belonged."""
        for place, key, before in reversed(self._undo):
            place.bind_key(key, None)
            if before is not None:
                place.bind_key(key, before)
        self._undo.clear()

    def _bind(self, place: Any, key: str, function: Callable[..., object]) -> None:
        before = place.bind_key(key, function, overwrite=True)
        self._undo.append((place, key, before))

    def _hold_to_move(self, viewer: Viewer) -> Generator[None, None, None]:
        self._mouse.held = True
        layer = viewer.layers.selection.active
        mode = None if layer is None else str(layer.mode)
        if layer is not None and mode != "pan_zoom":
            layer.mode = "pan_zoom"
        yield
        self._mouse.held = False
        if layer is not None and mode is not None:
            layer.mode = mode


def _callback(run: Callable[[], object]) -> Callable[[Any], None]:
    def pressed(_place: Any) -> None:
        run()

    return pressed
