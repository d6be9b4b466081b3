"""What runs in the process of one env: the env, around a renderer that asks the vector."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Sequence
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from typing import Any

import gymnasium
import numpy as np

from sim2street.bridge.errors import UnknownSession
from sim2street.bridge.frame import SensorFrame
from sim2street.bridge.renderer import (
    Renderer,
    Rendering,
    RenderRequest,
    SessionConfig,
    StyleChoice,
)
from sim2street.configs import Sim2StreetError
from sim2street.envs.driving import WORLD_LOST_ERRORS
from sim2street.envs.vector.messages import (
    Call,
    Command,
    Done,
    ErrorReply,
    Failed,
    MemoryRequest,
    ProcessRequest,
    Ready,
    RenderBatch,
    RendererCall,
    Reset,
    SetAttribute,
    SetState,
    Step,
    Stop,
    picklable,
)
from sim2street.envs.vector.render_requests import pack_requests, write_request
from sim2street.envs.vector.shared_memory import ArrayLocation, SharedBlock, locate_arrays

MakeEnv = Callable[[int, Renderer], gymnasium.Env[Any, Any]]
"""Makes the env with this index, around the renderer that it is given. Must be importable."""

ORPHAN_TIMEOUT_S = 10.0
"""Seconds after which a process exits if its vector is gone and it has not noticed."""

_EXPECTED_ERRORS = (Sim2StreetError, gymnasium.error.Error, ValueError, TypeError, AttributeError)
"""Errors after which the env still works: mistakes of the caller, or a lost world."""


class VectorLink:
    """The connection to the vector, and the memory shared with it.

    Attributes:
        seconds: seconds spent on "transfer" and "render" since they were last cleared.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._blocks: dict[str, SharedBlock] = {}

    def request(self, message: ProcessRequest) -> Any:
        """Send a request and return the value of the reply.

        Raises:
            EOFError: the vector is gone.
            Sim2StreetError: the request failed.
        """
        self.connection.send(message)
        reply = self.connection.recv()
        if isinstance(reply, ErrorReply):
            raise reply.error
        return reply.value

    def block(self, kind: str, size_bytes: int) -> SharedBlock:
        """The block of this kind, replaced by a larger one if it is too small."""
        block = self._blocks.get(kind)
        if block is None or block.size_bytes < size_bytes:
            if block is not None:
                block.close()
            name = self.request(MemoryRequest(kind, size_bytes))
            block = self._blocks[kind] = SharedBlock.attach(name)
        return block

    def close(self) -> None:
        """Release the memory and the connection."""
        while self._blocks:
            self._blocks.popitem()[1].close()
        self.connection.close()


class RendererProxy(Renderer):
    """The renderer of the vector, as seen from the process of one env."""

    def __init__(self, link: VectorLink) -> None:
        self._link = link
        self._sizes_px: dict[int, tuple[int, int]] = {}

    def styles(self) -> tuple[str, ...]:
        return tuple(self._link.request(RendererCall("styles")))

    def open_session(self, config: SessionConfig) -> int:
        session = int(self._link.request(RendererCall("open_session", (config,))))
        self._sizes_px[session] = config.out_size_px
        return session

    def render(self, requests: Sequence[RenderRequest]) -> list[Rendering]:
        start_s = time.perf_counter()
        for request in requests:
            if request.session not in self._sizes_px:
                raise UnknownSession(
                    f"session {request.session} is not open: call open_session first"
                )
        sizes_px = [self._sizes_px[request.session] for request in requests]
        packed, size_bytes = pack_requests(requests, sizes_px)
        block = self._link.block("views", size_bytes)
        for request, locations in zip(requests, packed, strict=True):
            write_request(block, request, locations)
        written_s = time.perf_counter()
        reopened = self._link.request(RenderBatch(packed))
        rendered_s = time.perf_counter()
        renderings = [
            Rendering(block.array(locations.rgb).copy(), flag)
            for locations, flag in zip(packed, reopened, strict=True)
        ]
        end_s = time.perf_counter()
        self._link.seconds["transfer"] += (written_s - start_s) + (end_s - rendered_s)
        self._link.seconds["render"] += end_s - start_s
        return renderings

    def restyle(self, session: int, style: StyleChoice) -> None:
        self._link.request(RendererCall("restyle", (session, style)))

    def save_session(self, session: int) -> bytes | None:
        """The session's state as pickled by the vector: this process may lack its classes."""
        saved: bytes | None = self._link.request(RendererCall("save_session", (session,)))
        return saved

    def load_session(self, session: int, saved: Any) -> None:
        self._link.request(RendererCall("load_session", (session, saved)))

    def close_session(self, session: int) -> None:
        self._sizes_px.pop(session, None)
        self._link.request(RendererCall("close_session", (session,)))

    def close(self) -> None:
        """Do nothing: the vector closes the sessions of a process that has ended."""


class ObservationWriter:
    """Writes observations to shared memory.

    Two places take turns, so that the last observation stays whole while the next is written.
    """

    def __init__(self, link: VectorLink) -> None:
        self._link = link
        self._place = 0

    def write(self, observation: Any) -> dict[str, ArrayLocation]:
        """Write the observation; returns key -> location, with key "" if it is not a dict."""
        arrays = observation if isinstance(observation, dict) else {"": np.asarray(observation)}
        size_bytes = max(location.end for location in locate_arrays(arrays).values())
        self._place = 1 - self._place
        locations = locate_arrays(arrays, self._place * size_bytes)
        block = self._link.block("observation", 2 * size_bytes + 64)
        for key, location in locations.items():
            block.array(location)[...] = arrays[key]
        return locations


def run_child(connection: Connection, index: int, make_env: MakeEnv) -> None:
    """Make the env and execute commands until `Stop`, or until the vector is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C, the vector ends its processes
    threading.Thread(target=_exit_after_parent, daemon=True).start()
    link = VectorLink(connection)
    try:
        env = make_env(index, RendererProxy(link))
    except _EXPECTED_ERRORS as error:
        world_lost = isinstance(error, WORLD_LOST_ERRORS)
        connection.send(Failed(picklable(error), traceback.format_exc(), world_lost, fatal=True))
        return
    except Exception as error:  # a bug: report it to the vector, then exit
        connection.send(Failed(picklable(error), traceback.format_exc(), fatal=True))
        raise
    try:
        spaces = env.observation_space, env.action_space
        connection.send(Ready(*spaces, dict(env.metadata), env.render_mode))
        _execute_commands(env, link)
    except (EOFError, ConnectionError):
        return  # the vector is gone
    finally:
        env.close()
        link.close()


def _execute_commands(env: gymnasium.Env[Any, Any], link: VectorLink) -> None:
    writer = ObservationWriter(link)
    while not isinstance(command := link.connection.recv(), Stop):
        result: Done | Failed
        try:
            result = _execute(env, command, link, writer)
        except (EOFError, ConnectionError):
            raise
        except WORLD_LOST_ERRORS as error:
            result = Failed(picklable(error), traceback.format_exc(), world_lost=True)
        except _EXPECTED_ERRORS as error:
            result = Failed(picklable(error), traceback.format_exc())
        except Exception as error:  # a bug: report it to the vector, then exit
            link.connection.send(Failed(picklable(error), traceback.format_exc(), fatal=True))
            raise
        link.connection.send(result)


def _execute(
    env: gymnasium.Env[Any, Any], command: Command, link: VectorLink, writer: ObservationWriter
) -> Done:
    if isinstance(command, Call):
        found = env.get_wrapper_attr(command.name)
        return Done(found(*command.args, **command.kwargs) if callable(found) else found)
    if isinstance(command, SetAttribute):
        env.set_wrapper_attr(command.name, command.value)
        return Done(None)
    link.seconds.clear()
    start_s = time.perf_counter()
    value: Any
    if isinstance(command, Reset):
        observation, value = env.reset(seed=command.seed, options=command.options)
    elif isinstance(command, SetState):
        observation, value = env.get_wrapper_attr("set_state")(command.state)
    else:
        assert isinstance(command, Step)
        observation, *value = env.step(command.action)
    stepped_s = time.perf_counter()
    locations = writer.write(observation)
    written_s = time.perf_counter()
    frame: SensorFrame | None = getattr(env.unwrapped, "last_frame", None)
    stamps = frame.stamps if frame is not None else {}
    render_s = stamps.get("render", 0.0)
    simulate_s = sum(stamps.values()) - render_s
    stage_seconds = {
        "simulate": simulate_s,
        "transfer": link.seconds["transfer"] + written_s - stepped_s,
        "render": max(0.0, render_s - link.seconds["render"]),  # the vector times the rest
        "observe": max(0.0, stepped_s - start_s - simulate_s - render_s),
    }
    return Done(value, locations, stage_seconds)


def _exit_after_parent() -> None:
    """Exit some time after the parent process, even if this one is busy or hangs."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    time.sleep(ORPHAN_TIMEOUT_S)
    os._exit(1)
