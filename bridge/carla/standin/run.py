"""Runs the stand-in: two listening sockets and an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Awaitable, Callable
from functools import partial

from sim2street.bridge.carla.standin.rpc import serve_rpc
from sim2street.bridge.carla.standin.server import StandIn, StandInConfig
from sim2street.bridge.errors import WorldError

_TRIES = 50
_LAST_PORT = 65534
_SEE_OFF_S = 2.0
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def serve_standin(config: StandInConfig, on_bound: Callable[[int], None] | None = None) -> None:
    """Serve until SIGINT or SIGTERM. `on_bound` gets the port of the calls."""
    asyncio.run(_serve(config, on_bound))


async def _serve(config: StandInConfig, on_bound: Callable[[int], None] | None) -> None:
    calls_socket, streams_socket = _bound_pair(config.host, config.port)
    port = int(calls_socket.getsockname()[1])
    standin = StandIn(config, port + 1)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C raises instead
            loop.add_signal_handler(number, stopped.set)
    guests = _Guests()
    answer = guests.hosting(partial(serve_rpc, standin.calls))
    calls = await asyncio.start_server(answer, sock=calls_socket)
    streams = await asyncio.start_server(guests.hosting(standin.streams.serve), sock=streams_socket)
    free_run = asyncio.create_task(standin.run_free())
    free_run.add_done_callback(lambda _: stopped.set())
    if on_bound is not None:
        on_bound(port)
    try:
        await stopped.wait()
    finally:
        free_run.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await free_run
        for server in (calls, streams):
            server.close()
        await guests.see_off()
        standin.close()


class _Guests:
    """The open connections, to be ended in good order with the server."""

    def __init__(self) -> None:
        self._present: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}

    def hosting(self, serve: Serve) -> Serve:
        """`serve`, with its connections known here."""

        async def hosted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            self._present[task] = writer
            try:
                await serve(reader, writer)
            finally:
                del self._present[task]

        return hosted

    async def see_off(self) -> None:
        """Hang up on everybody and wait until all have been dealt with."""
        tasks = [task for task in self._present if task is not None]
        for writer in self._present.values():
            writer.transport.abort()
        if tasks:
            await asyncio.wait(tasks, timeout=_SEE_OFF_S)


def _bound_pair(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """Sockets at a port and at the one after it."""
    for _ in range(_TRIES if port == 0 else 1):
        first = _bound(host, port)
        after = int(first.getsockname()[1]) + 1
        try:
            if after > _LAST_PORT:
                raise OSError("no port after this one")
            return first, _bound(host, after)
        except OSError:
            first.close()
    raise WorldError(f"ports {port} and {port + 1} of {host} are not both free: choose others")


def _bound(host: str, port: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError:
        made.close()
        raise
    return made
