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

_MAX_TRIES = 50
_LAST_PORT = 65534
_CLOSE_S = 2.0
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def serve_standin(config: StandInConfig, on_bound: Callable[[int], None] | None = None) -> None:
    """Serve until SIGINT or SIGTERM.

    `on_bound` is called with the RPC port once the server listens.

    Raises:
        WorldError: the ports are not free.
    """
    asyncio.run(_serve(config, on_bound))


async def _serve(config: StandInConfig, on_bound: Callable[[int], None] | None) -> None:
    rpc_socket, streams_socket = _bound_pair(config.host, config.port)
    port = int(rpc_socket.getsockname()[1])
    standin = StandIn(config, port + 1)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # on Windows, Ctrl-C raises instead
            loop.add_signal_handler(number, stopped.set)
    connections = _Connections()
    rpc = await asyncio.start_server(
        connections.tracking(partial(serve_rpc, standin.handlers)), sock=rpc_socket
    )
    streams = await asyncio.start_server(
        connections.tracking(standin.streams.serve), sock=streams_socket
    )
    ticks = asyncio.create_task(standin.tick_asynchronously())
    ticks.add_done_callback(lambda _: stopped.set())
    if on_bound is not None:
        on_bound(port)
    try:
        await stopped.wait()
    finally:
        ticks.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ticks
        for server in (rpc, streams):
            server.close()
        await connections.close()
        standin.close()


class _Connections:
    """The open connections, so that the server can end them when it stops."""

    def __init__(self) -> None:
        self._open: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}

    def tracking(self, serve: Serve) -> Serve:
        """`serve`, with its connections known to this object."""

        async def tracked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            self._open[task] = writer
            try:
                await serve(reader, writer)
            finally:
                del self._open[task]

        return tracked

    async def close(self) -> None:
        """Abort all connections and wait until their tasks have ended."""
        tasks = [task for task in self._open if task is not None]
        for writer in self._open.values():
            writer.transport.abort()
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSE_S)


def _bound_pair(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """Sockets bound to a port and to the one after it. Port 0: two free ones."""
    for _ in range(_MAX_TRIES if port == 0 else 1):
        first = _bound(host, port)
        second_port = int(first.getsockname()[1]) + 1
        try:
            if second_port > _LAST_PORT:
                raise OSError("no port after this one")
            return first, _bound(host, second_port)
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
