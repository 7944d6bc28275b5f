"""A file or folder to import: its first bytes, its JSON and the members of a zip, each read once and bounded."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import ImageError
from ..files import JsonError, parse_json
from ..files.json_reader import read_regular

MAX_BYTES = 512 * 2**20
"""Largest annotation file, also after decompression, in bytes."""
HEAD_BYTES = 2**16
_MAX_MEMBERS = 100_000
_JSON = (".json", ".geojson")
_BESIDE_JSON = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".txt", ".md", ".pdf")
"""Endings of other files that programs put into a zip with the annotations: images and notes."""
_MARK = b"\xef\xbb\xbf"
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


class Source:
    """A file or folder whose format is to be recognised and read.

    Args:
        path: The file or folder.

    Attributes:
        path: The file or folder.
        cache: What readers keep between the images of one file.

    Raises:
        ImageError: If it does not exist, or is neither a file nor a folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self.cache: dict[str, Any] = {}
        if not self.path.exists():
            raise ImageError(f"There is no file '{self.path}'; check the path.")

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.path.is_dir()

    @cached_property
    def head(self) -> bytes:
        """The first `HEAD_BYTES` of the file as stored; empty for a folder."""
        if self.is_folder:
            return b""
        if not self.path.is_file():
            raise ImageError(f"'{self.path}' is a device or a pipe; give a file.")
        try:
            with open(self.path, "rb") as stream:
                return stream.read(HEAD_BYTES)
        except OSError as error:
            raise ImageError(
                f"'{self.path}' cannot be opened ({error.strerror or error}); check the file."
            ) from error

    @cached_property
    def content(self) -> bytes:
        """The whole file, decompressed if it is a gzip file or a zip with a single JSON file.

        Raises:
            ImageError: If it cannot be read, or has more than `MAX_BYTES`.
        """
        try:
            if self.head.startswith(b"\x1f\x8b"):
                with gzip.open(self.path) as stream:
                    return self._bounded(stream.read(MAX_BYTES + 1))
            if self._json_member is not None:
                return self.read_member(self._json_member)
            return read_regular(self.path, MAX_BYTES)
        except JsonError as error:
            raise self._refused(str(error)) from error
        except (OSError, EOFError, zlib.error) as error:
            raise self._refused(getattr(error, "strerror", None) or str(error)) from error

    @cached_property
    def text(self) -> str:
        """The content as UTF-8, without a byte order mark.

        Raises:
            ImageError: If it is not UTF-8.
        """
        try:
            return self.content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise self._refused(f"byte {error.start:,} is not UTF-8") from error

    @property
    def is_json(self) -> bool:
        """Whether the content starts like JSON."""
        if self.is_folder:
            return False
        packed = self.head.startswith(b"\x1f\x8b") or self._json_member is not None
        start = self.content if packed else self.head
        return start[:HEAD_BYTES].removeprefix(_MARK).lstrip()[:1] in (b"{", b"[")

    @cached_property
    def json(self) -> Any:
        """The parsed content; see `files.parse_json`.

        Raises:
            ImageError: If it is not JSON or is refused.
        """
        try:
            return parse_json(self.content, MAX_BYTES)
        except JsonError as error:
            raise ImageError(
                f"'{self.path}' is not JSON or is damaged ({error}); export it again."
            ) from error

    @cached_property
    def members(self) -> tuple[str, ...]:
        """Names of the files in a zip; empty for other files.

        Raises:
            ImageError: If the zip is damaged.
        """
        if not self.head.startswith(b"PK\x03\x04"):
            return ()
        try:
            with zipfile.ZipFile(self.path) as archive:
                names = [info.filename for info in archive.infolist() if not info.is_dir()]
        except _ZIP_ERRORS as error:
            raise self._refused(str(error)) from error
        if len(names) > _MAX_MEMBERS:
            raise self._refused(f"it has {len(names):,} files, more than {_MAX_MEMBERS:,}")
        # macOS adds a hidden file for each file.
        return tuple(name for name in names if not name.startswith("__MACOSX/") and not _is_hidden(name))

    def read_member(self, name: str, limit_bytes: int = MAX_BYTES) -> bytes:
        """Read one file of a zip.

        Raises:
            ImageError: If it is missing, damaged, encrypted or larger than the limit.
        """
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(name) as stream:
                return self._bounded(stream.read(limit_bytes + 1), limit_bytes)
        except (*_ZIP_ERRORS, KeyError) as error:
            raise self._refused(f"'{name}': {error}") from error

    def read_members(self, names: Iterable[str], limit_bytes: int = MAX_BYTES) -> Iterator[bytes]:
        """Read files of a zip; its list of files is read once, and all files together may have `MAX_BYTES`.

        Raises:
            ImageError: As `read_member`.
        """
        total = 0
        name = ""
        try:
            with zipfile.ZipFile(self.path) as archive:
                for name in names:
                    with archive.open(name) as stream:
                        content = self._bounded(stream.read(limit_bytes + 1), limit_bytes)
                    total += len(content)
                    if total > MAX_BYTES:
                        raise self._refused(f"it has more than {MAX_BYTES:,} bytes after decompression")
                    yield content
        except ImageError:
            raise
        except (*_ZIP_ERRORS, KeyError) as error:
            raise self._refused(f"'{name}': {error}") from error

    def open(self) -> io.BytesIO:
        """Return the content as a stream."""
        return io.BytesIO(self.content)

    @cached_property
    def _json_member(self) -> str | None:
        names = [name for name in self.members if name.lower().endswith(_JSON)]
        others = [name for name in self.members if not name.lower().endswith((*_JSON, *_BESIDE_JSON))]
        return names[0] if len(names) == 1 and not others else None

    def _bounded(self, content: bytes, limit_bytes: int = MAX_BYTES) -> bytes:
        if len(content) > limit_bytes:
            raise self._refused(f"it has more than {limit_bytes:,} bytes after decompression")
        return content

    def _refused(self, reason: str) -> ImageError:
        return ImageError(f"'{self.path}' cannot be read ({reason.rstrip('.')}); export it again.")


def _is_hidden(name: str) -> bool:
    return name.rpartition("/")[2].startswith(("._", ".DS_Store"))
