"""The keys of annotating, bound to one viewer's canvas and given back when it ends.

napari asks the active layer before the viewer, so the keys are bound on the session's own layers and, for
all other layers, on the viewer. Checked against napari 0.9's defaults: on the session's layers 1 to 9 and M
lose their napari meaning (tools, which keep their letters E, P, F, L, Z; and "new label", which makes no
sense for classes); Ctrl-Z and Ctrl-Shift-Z go to the session's history instead of the layer's. The letters of
the object tools mean nothing to napari on an image or a label layer. Space does what it always did, and also
moves the image while prompting. Every other layer keeps its own keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from napari.layers import Layer
    from napari.viewer import Viewer

    from .mouse import MouseTool

SPACE = "move the image"
"""What the space bar does while it is held; it cannot be changed."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key and what it does."""

    key: str
    """In napari's notation."""
    shown: str
    """As it is shown to the user; "" if another line covers it."""
    text: str
    """What it does, in the user's words."""
    method: str
    """Name of the method that does it; dots lead to parts of the target."""
    arguments: tuple[Any, ...] = ()
    group: str = "Prompt and mask"
    """Heading under which the help lists it."""
    dock: bool = False
    """True if another dock than Annotate holds it, as long as that is open."""

    @property
    def name(self) -> str:
        """What the settings file calls it."""
        words = (self.method.rpartition(".")[2], *map(str, self.arguments))
        return "_".join(words).removeprefix("use_")


_OBJECT = "Object under the mouse"
_DOCKS = "With another dock open"
_ALL = "Everything"

KEYS = (
    Key("Enter", "Enter", "commit", "input.commit"),
    Key("W", "W", "commit, overwriting what is there", "input.commit", ("overwrite",)),
    Key("K", "K", "commit, keeping what is there", "input.commit", ("keep",)),
    Key("M", "M", "next candidate", "input.next_candidate"),
    Key("Backspace", "Backspace", "take the last prompt back", "input.remove_last_prompt"),
    Key("Escape", "Esc", "clear the prompt, or leave a tool", "clear"),
    Key("1", "1 … 9", "choose class", "choose_class", (1,)),
    *(Key(str(number), "", "choose class", "choose_class", (number,)) for number in range(2, 10)),
    Key("R", "R", "give it the chosen class", "tools.use", ("reclassify",), _OBJECT),
    Key("Delete", "Delete", "delete it", "tools.use", ("delete",), _OBJECT),
    Key("J", "J", "join two: press on each", "tools.use", ("merge",), _OBJECT),
    Key("D", "D", "divide: press on either side", "tools.use", ("split",), _OBJECT),
    Key("G", "G", "grow", "tools.use", ("grow",), _OBJECT),
    Key("Shift-G", "Shift-G", "shrink", "tools.use", ("shrink",), _OBJECT),
    Key("Shift-F", "Shift-F", "fill its holes", "tools.use", ("fill_holes",), _OBJECT),
    Key("S", "S", "smooth its outline", "tools.use", ("smooth",), _OBJECT),
    Key("T", "T", "tick as reviewed", "tools.use", ("reviewed",), _OBJECT),
    Key("U", "U", "mark as unsure", "tools.use", ("unsure",), _OBJECT),
    Key("N", "N", "next uncertain region (Auto-segment)", "next_uncertain", group=_DOCKS, dock=True),
    Key("PageDown", "PageDown", "next image (Folder)", "next_image", group=_DOCKS, dock=True),
    Key("PageUp", "PageUp", "image before (Folder)", "previous_image", group=_DOCKS, dock=True),
    Key("Q", "Q", "preview under the mouse on or off", "input.toggle_preview", group=_ALL),
    Key("Control-Z", "Ctrl-Z", "undo", "undo", group=_ALL),
    Key("Control-Shift-Z", "Ctrl-Shift-Z", "redo", "redo", group=_ALL),
    Key("H", "H", "show or hide these keys", "tools.show_help", group=_ALL),
)


class KeyMap:
    """Keys bound to a viewer and some of its layers, until `close`.

    Args:
        viewer: The viewer.
        layers: Layers on which the keys come before napari's own.
        target: Has the methods that the keys name.
        mouse: Told when the space bar is held.
        keys: What to bind.
    """

    def __init__(
        self,
        viewer: Viewer,
        layers: Sequence[Layer],
        target: object,
        mouse: MouseTool,
        keys: Sequence[Key] = KEYS,
    ) -> None:
        self._viewer = viewer
        self._mouse = mouse
        self._undo: list[tuple[Any, Any, Any]] = []
        for one in (key for key in keys if not key.dock):
            run = partial(attrgetter(one.method)(target), *one.arguments)
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
