"""Make the image that the user sees the image in use, and show a notice if they differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakSet

import numpy as np
from napari.layers import Image, Layer
from napari.utils.notifications import show_warning
from qtpy.QtCore import QObject, QTimer, Signal

from ..canvas.layers import MARK, MARK_HEAD

if TYPE_CHECKING:
    from napari.viewer import Viewer

OPAQUE = 0.99
"""Opacity from which an image hides the images below it."""
SEE_THROUGH = ("additive", "minimum", "multiplicative")
"""Blending modes in which the images below are visible."""


class FollowedState(Protocol):
    """The parts of the viewer state that the follower uses."""

    viewer: Viewer
    image: Image | None
    changed: Any
    """Signal without arguments."""
    message: Any
    """Signal with a message for the user."""

    def choose_image(self, image: Image | None) -> None:
        """Switch to another image layer."""

    def release(self, image: Image) -> None:
        """Close the session of an image layer."""


def _short_name(image: Image, most: int = 24) -> str:
    """Return the name of an image on one line, with a name of more than `most` characters cut in the middle."""
    line = " ".join(image.name.split())
    if len(line) <= most:
        return line
    end = (most - 1) // 2
    return f"{line[: most - 1 - end]}…{line[len(line) - end :]}"


@dataclass(frozen=True, slots=True)
class Notice:
    """A sentence about the image in use, and the button that changes it."""

    text: str
    button: str
    act: Callable[[], object]


def user_images(viewer: Viewer) -> list[Image]:
    """List the image layers from bottom to top, without the results of heads."""
    return [layer for layer in viewer.layers if isinstance(layer, Image) and MARK_HEAD not in layer.metadata]


def visible_image(viewer: Viewer) -> Image | None:
    """Return the topmost visible image; None if there is none."""
    return next((image for image in reversed(user_images(viewer)) if image.visible), None)


def mark_renamed(viewer: Viewer, before: str, after: str) -> None:
    """Let the layers that belong to an image follow its new name."""
    for layer in viewer.layers if before != after else ():
        for mark in (MARK, MARK_HEAD):
            if layer.metadata.get(mark) == before:
                layer.metadata[mark] = after


class ImageFollower(QObject):
    """Makes the image that is opened, selected or left visible the image in use.

    If a plugin replaces the pixels of a layer, its session is closed, and one for the new pixels is opened.

    Input on an image that is hidden or covered by another image is refused, so that no object is made that the user
    does not see.

    Args:
        state: The state of the viewer.
        parent: The Qt parent.
    """

    changed = Signal()
    """Emitted when `notice` may have changed."""

    def __init__(self, state: FollowedState, parent: QObject) -> None:
        super().__init__(parent)
        self._state = state
        self._viewer = state.viewer
        self._watched: list[tuple[Any, Callable[..., object]]] = []
        self._names: dict[Image, str] = {}
        """Names by which the layers of an image are marked."""
        self._clicked: Image | None = None
        """Another image that the user clicked on last."""
        self._opened: Image | None = None
        """The image that was opened last, until it is followed; another layer may be active by then."""
        self._changed: WeakSet[Image] = WeakSet()
        """Images whose pixels have been replaced."""
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._follow)
        layers = self._viewer.layers
        self._events = [
            layers.selection.events.active,
            layers.events.inserted,
            layers.events.removed,
            layers.events.reordered,
        ]
        for event in self._events:
            event.connect(self._on_event)
        state.changed.connect(self.changed)
        self._watch()

    def close(self) -> None:
        """Disconnect from the viewer."""
        for event in self._events:
            event.disconnect(self._on_event)
        self._unwatch()
        self._timer.stop()

    @property
    def notice(self) -> Notice | None:
        """Notice about the image in use; None if it is the image that the user sees."""
        image, active = self._state.image, self._viewer.layers.selection.active
        if image is None:
            return None
        name = _short_name(image)
        if not image.visible:
            return self._offer_show(image, f"'{name}' is in use, but hidden; clicks have no effect.")
        other = self._clicked
        if other is not None and other in self._viewer.layers and other is not image and other.visible:
            return self._offer_annotate(
                other, f"You clicked on '{_short_name(other)}', but '{name}' is in use."
            )
        if active is not image and active in user_images(self._viewer):
            return self._offer_annotate(
                active, f"'{_short_name(active)}' is selected, but hidden; '{name}' is in use."
            )
        cover = self._cover(image)
        if cover is not None:
            text = f"'{name}' is in use, but '{_short_name(cover)}' covers it; clicks on it have no effect."
            return self._offer_show(image, text)
        return None

    def _offer_show(self, image: Image, text: str) -> Notice:
        return Notice(text, f"Show '{_short_name(image, 12)}'", partial(self._show, image))

    def _offer_annotate(self, image: Image, text: str) -> Notice:
        return Notice(text, f"Annotate '{_short_name(image, 12)}'", partial(self._annotate, image))

    @property
    def seen(self) -> bool:
        """Whether the image in use is visible and not covered."""
        image = self._state.image
        return image is not None and image.visible and self._cover(image) is None

    def accepts(self, world: Any, say: bool = True) -> bool:
        """Return whether input at a position in world coordinates reaches the image in use.

        Args:
            world: The position.
            say: Whether to show a message if it does not.
        """
        image = self._state.image
        if image is None:
            return False
        if not image.visible:
            if say:
                self._state.message.emit(f"'{image.name}' is hidden, so nothing was changed; show it first.")
            return False
        other = self._other_image_at(image, world)
        if other is not None and say:
            self._clicked = other
            self._state.message.emit(
                f"This is '{other.name}', but '{image.name}' is in use; nothing was changed."
            )
            self.changed.emit()
        return other is None

    def _other_image_at(self, image: Image, world: Any) -> Image | None:
        """Return the image that the user sees at a position, if it is not the image in use."""
        if self._in_grid:
            return None
        images = user_images(self._viewer)
        above = images[images.index(image) + 1 :] if image in images else images
        for layer in reversed(above):
            if _opaque(layer) and _contains(layer, world):
                return layer
        if _contains(image, world):
            return None
        return next((layer for layer in reversed(images) if layer.visible and _contains(layer, world)), None)

    @property
    def _in_grid(self) -> bool:
        """Whether napari shows the layers side by side."""
        # napari 0.9 moved the grid to the canvas.
        grid = getattr(getattr(self._viewer, "canvas", None), "grid", None) or self._viewer.grid
        return bool(grid.enabled)

    def _on_event(self, event: Any = None) -> None:
        if event is not None and event.type == "inserted" and event.value in user_images(self._viewer):
            self._opened = event.value
        # Wait for the end of the event: napari is still changing its layer list.
        self._timer.start(0)

    def _on_pixels(self, event: Any) -> None:
        # A plugin may set the pixels several times in a row.
        self._changed.add(event.source)
        self._timer.start(0)

    def _reopen_changed(self) -> None:
        """Close the sessions of images whose pixels another program has replaced; open that of the image in use."""
        changed, in_use = self._changed, self._state.image
        self._changed = WeakSet()
        for image in changed:
            if image is in_use:
                self._state.choose_image(None)
            self._state.release(image)
        if in_use is not None and in_use in changed:
            self._state.choose_image(in_use)
            show_warning(
                f"The pixels of '{in_use.name}' were replaced, so it was opened as another image; the objects of the "
                "earlier pixels are kept and are shown again with them."
            )

    def _follow(self) -> None:
        self._reopen_changed()
        renamed = self._watch()
        self._clicked = None
        images, image = user_images(self._viewer), self._state.image
        opened, self._opened = self._opened, None
        latest: Any = opened if opened in images else self._viewer.layers.selection.active
        if image is not None and latest in images and latest is not image and latest.visible:
            self._viewer.layers.selection.active = latest
            self._state.choose_image(latest)
        elif image is not None and image in images and not image.visible:
            other = visible_image(self._viewer)
            if other is not None:
                self._state.choose_image(other)
        (self._state.changed if renamed else self.changed).emit()

    def _annotate(self, image: Image) -> None:
        self._clicked = None
        image.visible = True
        self._viewer.layers.selection.active = image
        self._state.choose_image(image)

    def _show(self, image: Image) -> None:
        """Show an image and hide the images that cover it."""
        image.visible = True
        while (cover := self._cover(image)) is not None:
            cover.visible = False

    def _cover(self, image: Image) -> Image | None:
        """Return a visible, opaque image above another one at the same place; None if there is none."""
        images = user_images(self._viewer)
        if image not in images or self._in_grid:
            return None
        above = images[images.index(image) + 1 :]
        return next((layer for layer in reversed(above) if _opaque(layer) and _overlaps(layer, image)), None)

    def _watch(self) -> bool:
        """Watch the images that are open, let their layers follow new names, and return whether there is one."""
        self._unwatch()
        names, self._names = self._names, {image: image.name for image in user_images(self._viewer)}
        for image, name in self._names.items():
            mark_renamed(self._viewer, names.get(image, name), name)
            for event in (
                image.events.visible,
                image.events.opacity,
                image.events.blending,
                image.events.name,
            ):
                event.connect(self._on_event)
                self._watched.append((event, self._on_event))
            image.events.data.connect(self._on_pixels)
            self._watched.append((image.events.data, self._on_pixels))
        return any(names.get(image, name) != name for image, name in self._names.items())

    def _unwatch(self) -> None:
        for event, slot in self._watched:
            event.disconnect(slot)
        self._watched.clear()


def _opaque(layer: Image) -> bool:
    return bool(layer.visible and layer.opacity >= OPAQUE and str(layer.blending) not in SEE_THROUGH)


def _contains(layer: Layer, world: Any) -> bool:
    place = np.asarray(layer.world_to_data(world))[-2:]
    low, high = np.asarray(layer.extent.data)[:, -2:]
    return bool(((place >= low - 0.5) & (place <= high + 0.5)).all())


def _overlaps(first: Layer, second: Layer) -> bool:
    (low, high), (other_low, other_high) = (
        np.asarray(layer.extent.world)[:, -2:] for layer in (first, second)
    )
    return bool((low < other_high).all() and (other_low < high).all())
