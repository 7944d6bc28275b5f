"""Saves that are killed. Reads lines "SCENARIO<tab>FOLDER", and prints a number of processes for each.

A line is handled in a forked process, so that libraries are imported once. Each scenario prepares a folder with old
content and then saves new content into it. The save is repeated in forked processes on copies of the prepared folder:
FOLDER/0, FOLDER/1 ... Process n is killed with SIGKILL before its n-th change of the file system: renaming, linking,
deleting, and some of those that open a file for writing, sync it, or make a folder. The last process is not killed.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.programs.saves import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Callable

CHANGES = ("os.rename", "os.link", "os.remove", "os.rmdir", "os.truncate", "os.symlink")
OTHERS = 4
"""Of the changes that only add something new (files opened for writing, syncs, folders), one in so many counts."""


class Killer:
    """Kills this process before its n-th change of the file system."""

    def __init__(self, at: int) -> None:
        self.left = at
        self.others = 0
        self.fsync, self.ftruncate = os.fsync, os.ftruncate
        sys.addaudithook(self.on_event)
        os.fsync = self.count_fsync  # not audited

    def count(self) -> None:
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1

    def count_other(self) -> None:
        self.others += 1
        if self.others % OTHERS == 1:
            self.count()

    def count_fsync(self, descriptor: int) -> None:
        self.count_other()
        self.fsync(descriptor)

    def on_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        flags = arguments[2] if event == "open" else 0
        if event in CHANGES:
            self.count()
        elif event == "os.mkdir" or (
            isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        ):
            self.count_other()


def run_killed(save: Callable[[Path], None], folder: Path, at: int) -> bool:
    """Run a save in a forked process; return True if it was killed."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            Killer(at)
            save(folder)
            code = 0
        except BaseException as error:  # noqa: BLE001  # the parent reports it
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(code)
    status = os.waitpid(child, 0)[1]
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
        sys.exit(f"the save failed at change {at}")
    return os.WIFSIGNALED(status)


def run_scenario(name: str, folder: Path) -> None:
    """Run a scenario and print the number of processes."""
    prepare, save = SCENARIOS[name]
    prepared = folder / "prepared"
    prepared.mkdir(parents=True)
    prepare(prepared)
    rehearsal = folder / "rehearsal"  # imports everything that the save needs
    shutil.copytree(prepared, rehearsal, symlinks=True)
    save(rehearsal)
    number = 0
    while True:
        copy = folder / str(number)
        shutil.copytree(prepared, copy, symlinks=True)
        killed = run_killed(save, copy, number)
        number += 1
        if not killed:
            break
    print(number, flush=True)


def main() -> None:
    for line in sys.stdin:
        name, folder = line.rstrip("\n").split("\t")
        child = os.fork()
        if child == 0:
            run_scenario(name, Path(folder))
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            print("failed", flush=True)


if __name__ == "__main__":
    main()
