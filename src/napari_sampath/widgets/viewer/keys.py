"""Key bindings of annotating, bound to one viewer and released when it ends.

napari asks the active layer before the viewer, so the keys are bound on the session's own layers and, for all other
layers, on the viewer. Checked against the defaults of napari 0.9: on the session's layers 1 to 9 and M lose their
napari meaning (tools, which keep their letters E, P, F, L, Z; and "new label", which has no use for classes); Ctrl-Z
and Ctrl-Shift-Z go to the session's history instead of the layer's. napari does not use the letters of the object tools
on image and label layers. Space keeps its meaning and also moves the image in prompt modes. Other layers keep all
keys.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any

from napari.layers import Layer
from napari.viewer import Viewer

from .mouse import MouseTool

SPACE = "move the image"
"""What the space bar does while it is held; it cannot be changed."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key and its action."""

    key: str
    """In napari's notation."""
    shown: str
    """As shown to the user; "" if another line covers it."""
    text: str
    """The action, in the user's words."""
    method: str
    """Name of the method of the target; dots lead to parts of the target."""
    arguments: tuple[Any, ...] = ()
    group: str = "Prompt and mask"
    """Heading in the list of keys."""
    dock: bool = False
    """True if a dock other than Annotate binds it while it is open."""

    @property
    def name(self) -> str:
        """Name of the action in the settings file."""
        words = (self.method.rpartition(".")[2], *map(str, self.arguments))
        return "_".join(words).removeprefix("use_")


_OBJECT = "Object under the mouse"
_DOCKS = "With another dock open"
_ALL = "Everything"

KEYS = (
    Key("Enter", "Enter", "commit", "input.commit"),
    Key("W", "W", "commit and overwrite other objects", "input.commit", ("overwrite",)),
    Key("K", "K", "commit and keep other objects", "input.commit", ("keep",)),
    Key("M", "M", "next candidate mask", "input.next_candidate"),
    Key("Backspace", "Backspace", "remove the last prompt", "input.remove_last_prompt"),
    Key("Escape", "Esc", "clear the prompt, or cancel a tool", "clear"),
    Key("1", "1 … 9", "choose a class", "choose_class", (1,)),
    *(Key(str(number), "", "choose a class", "choose_class", (number,)) for number in range(2, 10)),
    Key("R", "R", "change its class", "tools.use", ("reclassify",), _OBJECT),
    Key("Delete", "Delete", "delete it", "tools.use", ("delete",), _OBJECT),
    Key("J", "J", "merge two: press on each", "tools.use", ("merge",), _OBJECT),
    Key("D", "D", "split it: press on both sides", "tools.use", ("split",), _OBJECT),
    Key("G", "G", "grow it", "tools.use", ("grow",), _OBJECT),
    Key("Shift-G", "Shift-G", "shrink it", "tools.use", ("shrink",), _OBJECT),
    Key("Shift-F", "Shift-F", "fill its holes", "tools.use", ("fill_holes",), _OBJECT),
    Key("S", "S", "smooth its outline", "tools.use", ("smooth",), _OBJECT),
    Key("T", "T", "mark it as reviewed", "tools.use", ("reviewed",), _OBJECT),
    Key("U", "U", "mark it as unsure", "tools.use", ("unsure",), _OBJECT),
    Key("N", "N", "next uncertain region (Auto-segment)", "next_uncertain", group=_DOCKS, dock=True),
    Key("PageDown", "PageDown", "next image (Folder)", "next_image", group=_DOCKS, dock=True),
    Key("PageUp", "PageUp", "previous image (Folder)", "previous_image", group=_DOCKS, dock=True),
    Key("Q", "Q", "preview on or off", "input.toggle_preview", group=_ALL),
    Key("Control-Z", "Ctrl-Z", "undo", "undo", group=_ALL),
    Key("Control-Shift-Z", "Ctrl-Shift-Z", "redo", "redo", group=_ALL),
    Key("H", "H", "show or hide this list", "tools.show_help", group=_ALL),
)


class KeyMap:
    """Binds keys on a viewer and some of its layers until `close`.

    Args:
        viewer: The viewer.
        layers: Layers on which the keys come before napari's own.
        target: Object with the methods that the keys name.
        mouse: Its `held` is True while the space bar is held.
        keys: The keys to bind.
    """

    def __init__(
        self,
        viewer: Viewer,
        layers: Sequence[Layer],
        target: object,
        mouse: MouseTool,
        keys: Sequence[Key] = KEYS,
    ) -> None:
        self._mouse = mouse
        self._previous: list[tuple[Any, Any, Any]] = []
        """(viewer or layer, key, function that was bound before)."""
        for key in keys:
            if not key.dock:
                run = partial(attrgetter(key.method)(target), *key.arguments)
                for place in (viewer, *layers):
                    self._bind(place, key.key, _callback(run))
        self._bind(viewer, "Space", self._hold_to_move)

    def close(self) -> None:
        """Restore the previous bindings."""
        for place, key, before in reversed(self._previous):
            place.bind_key(key, None)
            if before is not None:
                place.bind_key(key, before)
        self._previous.clear()

    def _bind(self, place: Any, key: str, function: Callable[..., object]) -> None:
        self._previous.append((place, key, place.bind_key(key, function, overwrite=True)))

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
