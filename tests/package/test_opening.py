from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from napari_sampath.files import open_regular


def test_regular_files_and_links_to_them_are_opened(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"abc")
    (tmp_path / "link").symlink_to(tmp_path / "a.bin")
    for path in (tmp_path / "a.bin", tmp_path / "link"):
        with open_regular(path) as stream:
            assert stream.read() == b"abc"
            assert str(stream.name) == str(path)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes in folders")
@pytest.mark.timeout(10)
def test_pipes_sockets_devices_and_folders_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("socket")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path / "socket", tmp_path, tmp_path / "gone"):
        with pytest.raises(OSError, match=r"pipe, a socket or a device|No such|directory|device"):
            open_regular(path)
    listener.close()
