"""`python -m napari_sampath.widgets.window_probe`: print what Qt and OpenGL offer, as JSON.

Qt ends the process if there is no display, so `sampath doctor` runs this in another process.
"""

from __future__ import annotations

import json
import sys
from typing import Any


def main() -> int:
    """Open an invisible OpenGL surface, and print its properties and those of the plugin; return the exit code."""
    import qtpy
    from napari.settings import get_settings
    from qtpy.QtGui import QGuiApplication, QImageReader, QOffscreenSurface, QOpenGLContext

    application = QGuiApplication(sys.argv[:1])
    values: dict[str, Any] = {
        "binding": qtpy.API_NAME,
        "binding_version": qtpy.PYSIDE_VERSION or qtpy.PYQT_VERSION,
        "qt": qtpy.QT_VERSION,
        "platform": application.platformName(),
        "image_formats": sorted(bytes(name.data()).decode() for name in QImageReader.supportedImageFormats()),
        "opengl": None,
        "disabled": "napari-sampath" in get_settings().plugins.disabled_plugins,
    }
    context, surface = QOpenGLContext(), QOffscreenSurface()
    surface.create()
    if context.create() and context.makeCurrent(surface):
        from vispy.gloo import gl

        values["opengl"] = {
            "vendor": gl.glGetParameter(gl.GL_VENDOR),
            "renderer": gl.glGetParameter(gl.GL_RENDERER),
            "version": gl.glGetParameter(gl.GL_VERSION),
            "max_texture_px": int(gl.glGetParameter(gl.GL_MAX_TEXTURE_SIZE)),
        }
    sys.stdout.write(json.dumps(values) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
