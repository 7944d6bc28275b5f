"""Key bindings for annotating, which exist only while an image is annotated.

napari looks up a key on the active layer before the viewer, so the keys are bound on the layers of the session and, for
all other layers, on the viewer. On the layers of the session they replace these default keys of napari 0.9:

- 1 to 9 choose a class instead of a tool of the layer; L still chooses napari's tool, and E, P and Z choose the same
  tools as in napari.
- F finds similar objects instead of choosing the fill bucket.
- M shows the next candidate mask instead of creating a new label.
- Ctrl-Z and Ctrl-Shift-Z undo and redo steps of the session instead of steps of the layer.

napari does not bind the keys of the object tools on image and label layers. Space still moves the image, also in prompt
modes. On all other layers napari's keys take precedence.
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
"""Action of the space bar while it is held; this key cannot be changed."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key and its action."""

    key: str
    """The key in napari's notation."""
    shown: str
    """The key as shown to the user; "" if another entry of the list includes it."""
    text: str
    """Description of the action for the user."""
    method: str
    """Dotted name of the method, relative to the target."""
    arguments: tuple[Any, ...] = ()
    group: str = "Prompt and mask"
    """Heading of its section in the list of keys."""
    dock: bool = False
    """Whether a dock other than Annotate binds the key while it is open."""

    @property
    def name(self) -> str:
        """Name of the action in the settings file."""
        words = (self.method.rpartition(".")[2], *map(str, self.arguments))
        return "_".join(words).removeprefix("use_")


_OBJECT = "Object under the mouse"
_MOUSE = "Tool of the mouse"
_VIEW = "View"
_DOCKS = "With another dock open"
_ALL = "Everything"

KEYS = (
    Key("Enter", "Enter", "commit", "input.commit"),
    Key("W", "W", "commit and overwrite other objects", "input.commit", ("overwrite",)),
    Key("K", "K", "commit and keep other objects", "input.commit", ("keep",)),
    Key("M", "M", "next candidate mask", "input.next_candidate"),
    Key("Backspace", "Backspace", "remove the last prompt, or the last object", "input.remove_last_prompt"),
    Key("Shift-A", "Shift-A", "one click = one object, on or off", "input.toggle_one_click"),
    Key("Escape", "Esc", "clear the prompt, or cancel a tool", "clear"),
    Key("1", "1 … 9", "choose a class", "choose_class", (1,)),
    *(Key(str(number), "", "choose a class", "choose_class", (number,)) for number in range(2, 10)),
    Key("R", "R", "change class", "tools.use", ("reclassify",), _OBJECT),
    Key("Delete", "Delete", "delete", "tools.use", ("delete",), _OBJECT),
    Key("J", "J", "merge: press on both objects", "tools.use", ("merge",), _OBJECT),
    Key("D", "D", "split: press at both ends of the cut", "tools.use", ("split",), _OBJECT),
    Key("G", "G", "grow", "tools.use", ("grow",), _OBJECT),
    Key("Shift-G", "Shift-G", "shrink", "tools.use", ("shrink",), _OBJECT),
    Key("Shift-F", "Shift-F", "fill holes", "tools.use", ("fill_holes",), _OBJECT),
    Key("S", "S", "smooth outline", "tools.use", ("smooth",), _OBJECT),
    Key("T", "T", "mark as reviewed", "tools.use", ("reviewed",), _OBJECT),
    Key("U", "U", "mark as unsure", "tools.use", ("unsure",), _OBJECT),
    Key("F", "F", "find similar objects", "tools.find_similar", (), _OBJECT),
    Key("Shift-R", "Shift-R", "measure a distance: press at both ends", "tools.use", ("measure",), _VIEW),
    Key("A", "A", "click points", "choose_mode", ("point",), _MOUSE),
    Key("B", "B", "draw boxes", "choose_mode", ("box",), _MOUSE),
    Key("Shift-M", "Shift-M", "paint a mask prompt", "choose_mode", ("mask",), _MOUSE),
    Key("Shift-D", "Shift-D", "draw an outline (lasso)", "choose_mode", ("lasso",), _MOUSE),
    Key("P", "P", "brush", "choose_mode", ("brush",), _MOUSE),
    Key("E", "E", "eraser", "choose_mode", ("erase",), _MOUSE),
    Key("Z", "Z", "move the image", "choose_mode", ("move",), _MOUSE),
    Key("Shift-I", "Shift-I", "outlines only, or filled objects", "display.toggle_fill", group=_VIEW),
    Key("I", "I", "hide or show all objects", "display.toggle_hidden", group=_VIEW),
    Key("O", "O", "show the selected class only", "display.toggle_only_class", group=_VIEW),
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
        layers: Layers on which the keys take precedence over napari's.
        target: Object with the methods named in the keys.
        mouse: The mouse tool; its `held` is True while the space bar is held.
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
        """Replaced bindings: (viewer or layer, key, previous function or None)."""
        for key in keys:
            if not key.dock:
                run = partial(attrgetter(key.method)(target), *key.arguments)
                for owner in (viewer, *layers):
                    self._bind(owner, key.key, _callback(run))
        self._bind(viewer, "Space", self._hold_to_move)

    def close(self) -> None:
        """Restore the previous bindings."""
        for owner, key, previous in reversed(self._previous):
            owner.bind_key(key, None)
            if previous is not None:
                owner.bind_key(key, previous)
        self._previous.clear()

    def _bind(self, owner: Any, key: str, function: Callable[..., object]) -> None:
        self._previous.append((owner, key, owner.bind_key(key, function, overwrite=True)))

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
    def pressed(_owner: Any) -> None:
        run()

    return pressed
