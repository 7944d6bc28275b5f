"""Takes results of any size into a session without holding up the window."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..annotations import Annotation, Prepared
    from ..jobs import Job
    from .workers import JobRunner

TRIES = 3
"""So often a result is worked out anew because the user has changed something meanwhile; then the window waits."""


def take_over(
    runner: JobRunner,
    job: Callable[[], Job[Prepared | None]],
    take: Callable[[Prepared | None], list[Annotation] | None],
    at_once: Callable[[], list[Annotation]],
    in_use: Callable[[], bool],
    then: Callable[[list[Annotation]], object],
    tries: int = TRIES,
) -> None:
    """Work out in a thread what comes into a session, and take it in.

    Args:
        runner: Runs the job, and tells of what goes wrong.
        job: Makes the job of the session that works it out.
        take: `Session.take`.
        at_once: Does the same in the window's thread.
        in_use: Says whether the session still is the one in use; else nothing is done.
        then: Called with the new annotations.
        tries: How often.
    """
    if not in_use():
        return

    def on_prepared(prepared: Prepared | None) -> None:
        if not in_use():
            return
        made = take(prepared)
        if made is None and tries > 1:
            take_over(runner, job, take, at_once, in_use, then, tries - 1)
        else:
            then(at_once() if made is None else made)

    runner.start(job(), "taking over what was found", on_prepared)
