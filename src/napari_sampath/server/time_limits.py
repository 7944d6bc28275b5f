"""Time limits for receiving a request and for sending its answer, which uvicorn does not have."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADERS_S = 20.0
"""Longest time for receiving the headers of a request, in seconds."""
BODY_S = 70.0
"""Longest time for receiving the body of a request, in seconds; also of one that has been answered without it."""
UNREAD_S = 60.0
"""Longest time in which a client reads nothing of its answer, in seconds."""


class TimeLimitProtocol(H11Protocol):
    """HTTP/1.1 that closes the connections of clients that send or read too slowly."""

    _timer: asyncio.TimerHandle | None = None
    _receiving: object = None
    """What the timer limits: the state of the client."""
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time limit of the first request."""
        super().connection_made(transport)
        self._limit()

    def data_received(self, data: bytes) -> None:
        """Start or stop the time limits of the headers and of the body."""
        super().data_received(data)
        self._limit()

    def pause_writing(self) -> None:
        """Start the time limit for reading an answer."""
        super().pause_writing()
        self._unread = self.loop.call_later(UNREAD_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop the time limit for reading an answer."""
        self._stop_unread()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all time limits."""
        self._stop()
        self._stop_unread()
        super().connection_lost(exc)

    def _limit(self) -> None:
        state = self.conn.their_state
        if state is self._receiving:
            return
        self._stop()
        seconds = {h11.IDLE: HEADERS_S, h11.SEND_BODY: BODY_S}.get(state)
        if seconds is not None:
            self._receiving = state
            self._timer = self.loop.call_later(seconds, self.transport.close)

    def _stop(self) -> None:
        self._receiving = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _stop_unread(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
