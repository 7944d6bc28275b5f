"""Error messages about failed writes."""

from __future__ import annotations

import errno
from pathlib import Path

from ..errors import StorageError

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_PERMISSION = (errno.EACCES, errno.EPERM, errno.EROFS)


def storage_error(path: Path, error: OSError) -> StorageError:
    """Return the error for a file or folder that could not be written; its earlier content is untouched."""
    if error.errno in _NO_SPACE:
        advice = "free some space or choose another folder"
    elif error.errno in _NO_PERMISSION:
        advice = "choose a folder in which you may write"
    else:
        advice = "check the folder or choose another one"
    failure = StorageError(
        f"Could not write '{path}' ({error.strerror or error}); the earlier content is untouched: {advice}."
    )
    failure.errno = error.errno
    return failure
