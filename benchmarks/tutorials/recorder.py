"""Pictures and animations of a window while it is driven, with the mouse pointer and the pressed keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from qtpy.QtCore import QPoint
from qtpy.QtWidgets import QApplication, QWidget

from ..gui_driver import GuiDriver

QUALITY = 80
COLOURS = 256
MAX_BYTES = 950_000
POINTER = ((0, 0), (0, 17), (4, 13), (7, 20), (10, 19), (7, 12), (13, 12))
"""Outline (x, y) of the mouse pointer."""


class Recorder:
    """Takes pictures of the window of a viewer.

    Args:
        viewer: The viewer.
        folder: Folder of the pictures.
    """

    def __init__(self, viewer: Any, folder: Path) -> None:
        self._window = viewer.window._qt_window
        self._viewer = viewer
        self._folder = folder
        self._font = ImageFont.load_default(size=17)
        self._frames: list[tuple[Image.Image, int]] = []
        self.pointer = QPoint(-100, -100)
        """Position of the mouse in the window."""

    def move(self, widget: QWidget, place: QPoint) -> None:
        """Put the pointer at a place of a widget."""
        self.pointer = widget.mapTo(self._window, place)

    def picture(self, name: str) -> None:
        """Save a picture of the window as JPEG."""
        self._grab("", pointer=False).save(self._folder / f"{name}.jpg", quality=QUALITY, optimize=True)

    def frame(self, milliseconds: int = 500, caption: str = "") -> None:
        """Add a frame to the animation.

        Args:
            milliseconds: How long it is shown.
            caption: What the user does, such as "Enter".
        """
        self._frames.append((self._grab(caption), milliseconds))

    def save_animation(self, name: str) -> Path:
        """Write the frames as a GIF of at most `MAX_BYTES`, and forget them."""
        images, times = zip(*self._frames, strict=True)
        self._frames = []
        path = self._folder / f"{name}.gif"
        colours = COLOURS
        while True:
            palette = _palette(images, colours)
            frames = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
            frames[0].save(path, save_all=True, append_images=frames[1:], duration=list(times), loop=0)
            if path.stat().st_size <= MAX_BYTES or colours < 16:
                return path
            colours = colours * 2 // 3

    def _grab(self, caption: str, pointer: bool = True) -> Image.Image:
        QApplication.processEvents()
        pixels = np.asarray(self._viewer.screenshot(canvas_only=False, flash=False))[..., :3]
        image = Image.fromarray(pixels)
        draw = ImageDraw.Draw(image)
        if pointer:
            x, y = self.pointer.x(), self.pointer.y()
            outline = [(x + dx, y + dy) for dx, dy in POINTER]
            draw.polygon(outline, fill="white", outline="black")
        if caption:
            left, top, right, bottom = draw.textbbox((0, 0), caption, font=self._font)
            x, y = 24, image.height - 56
            draw.rounded_rectangle((x, y, x + right - left + 24, y + bottom - top + 18), 6, fill="#ffd54a")
            draw.text((x + 12 - left, y + 9 - top), caption, fill="black", font=self._font)
        return image


class RecordingDriver(GuiDriver):
    """Driver whose mouse moves are visible in the pictures of a recorder."""

    def __init__(self, viewer: Any, image: Any, recorder: Recorder) -> None:
        super().__init__(viewer, image)
        self._recorder = recorder

    def _move(self, position: QPoint, button: Any, modifiers: Any) -> None:
        super()._move(position, button, modifiers)
        self._recorder.move(self.native, position)


def _palette(images: tuple[Image.Image, ...], colours: int) -> Image.Image:
    """Return an image with the palette of some frames."""
    some = images[:: max(1, len(images) // 4)]
    height = sum(image.height for image in some)
    together = Image.new("RGB", (some[0].width, height))
    for number, image in enumerate(some):
        together.paste(image, (0, number * image.height))
    return together.quantize(colours, method=Image.Quantize.MEDIANCUT)
