"""Pages of the documentation that *Help* opens."""

from __future__ import annotations

import importlib.metadata

from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices

PAGES = {
    "Project": "projects.md",
    "Annotate": "annotating.md",
    "Objects": "annotating.md#work-with-the-table-of-objects",
    "Auto-segment": "annotating.md#run-a-trained-head",
    "Train": "annotating.md#train-a-head-on-your-corrections",
    "Export": "annotating.md#export-and-import",
}
"""Title of a tab -> file of its page in `docs/`, and the section."""
DOCUMENTATION = "Documentation"
"""Name of the address of `docs/` in the package's metadata."""


def page_address(page: str) -> str:
    """Return the address of a page in the repository or on the site, as the metadata state; "" if they state none.

    Args:
        page: File in `docs/`, which may be followed by "#" and a section.
    """
    links = importlib.metadata.metadata("napari-sampath").get_all("Project-URL") or []
    addresses = dict(str(link).split(", ", 1) for link in links)
    start = addresses.get(DOCUMENTATION, "")
    if not start:
        return ""
    if start.endswith("/index.md"):
        return start.removesuffix("index.md") + page
    return f"{start.rstrip('/')}/{page.replace('.md', '/')}"


def open_help(title: str) -> None:
    """Open the page of a tab in the browser."""
    QDesktopServices.openUrl(QUrl(page_address(PAGES[title])))
