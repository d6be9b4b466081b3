"""The process of one world of a vector env: an env, and a renderer that asks the vector."""

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
from sim2street.envs.driving import LOST
from sim2street.envs.vector.messages import (
    Ask,
    Assign,
    Call,
    Command,
    Done,
    Failed,
    MemoryAsk,
    Ready,
    Refused,
    RenderAsk,
    RendererAsk,
    Reset,
    Restore,
    Step,
    Stop,
    portable,
)
from sim2street.envs.vector.render_requests import bytes_needed, write_request
from sim2street.envs.vector.shared_memory import Block, Place, places_for

MakeEnv = Callable[[int, Renderer], gymnasium.Env[Any, Any]]
"""Makes the env with this index around the vector's renderer, in a process of its own."""

ORPHAN_S = 10.0
"""How long a process may take to end by itself once its vector is gone."""

_MISTAKES = (Sim2StreetError, gymnasium.error.Error, ValueError, TypeError, AttributeError)


class Link:
    """The process's end of the line: asks the vector, and keeps the memory they share."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._blocks: dict[str, Block] = {}
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def ask(self, message: Ask) -> Any:
        """What the vector grants; its refusal is raised. Ends (EOFError) when it is gone."""
        self.connection.send(message)
        answer = self.connection.recv()
        if isinstance(answer, Refused):
            raise answer.error
        return answer.value

    def block(self, kind: str, size: int) -> Block:
        """The block of that kind, of at least `size` bytes."""
        known = self._blocks.get(kind)
        if known is None or known.size < size:
            if known is not None:
                known.close()
            self._blocks[kind] = Block.attach(self.ask(MemoryAsk(kind, size)))
        return self._blocks[kind]

    def close(self) -> None:
        """Let go of the memory and the line."""
        while self._blocks:
            self._blocks.popitem()[1].close()
        self.connection.close()


class SharedRenderer(Renderer):
    """The vector's renderer, as the env of one of its worlds knows it."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._sizes_px: dict[int, tuple[int, int]] = {}

    def styles(self) -> tuple[str, ...]:
        return tuple(self._link.ask(RendererAsk("styles")))

    def open_session(self, config: SessionConfig) -> int:
        session = int(self._link.ask(RendererAsk("open_session", (config,))))
        self._sizes_px[session] = config.out_size_px
        return session

    def render(self, requests: Sequence[RenderRequest]) -> list[Rendering]:
        start_s = time.perf_counter()
        for request in requests:
            if request.session not in self._sizes_px:
                raise UnknownSession(f"no session {request.session}: open it again")
        sizes_px = [self._sizes_px[request.session] for request in requests]
        packed, size = bytes_needed(requests, sizes_px)
        block = self._link.block("views", size)
        for request, places in zip(requests, packed, strict=True):
            write_request(block, request, places)
        asked_s = time.perf_counter()
        reopened = self._link.ask(RenderAsk(packed))
        granted_s = time.perf_counter()
        renderings = [
            Rendering(block.array(places.rgb).copy(), flag)
            for places, flag in zip(packed, reopened, strict=True)
        ]
        end_s = time.perf_counter()
        self._link.seconds["transfer"] += asked_s - start_s + end_s - granted_s
        self._link.seconds["render"] += end_s - start_s
        return renderings

    def restyle(self, session: int, style: StyleChoice) -> None:
        self._link.ask(RendererAsk("restyle", (session, style)))

    def save_session(self, session: int) -> bytes | None:
        """What the vector's renderer saved, as bytes: no business of this process."""
        saved: bytes | None = self._link.ask(RendererAsk("save_session", (session,)))
        return saved

    def load_session(self, session: int, saved: bytes) -> None:
        self._link.ask(RendererAsk("load_session", (session, saved)))

    def close_session(self, session: int) -> None:
        self._sizes_px.pop(session, None)
        self._link.ask(RendererAsk("close_session", (session,)))

    def close(self) -> None:
        """Nothing: the vector forgets the sessions of a process that has ended."""


class ObservationSlots:
    """Writes observations by turns to two places, so that the last one is always whole."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._turn = 0

    def write(self, observation: Any) -> dict[str, Place]:
        """Where it now lies, by key; "" where it is no dict."""
        arrays = observation if isinstance(observation, dict) else {"": np.asarray(observation)}
        size = max(place.end for place in places_for(arrays).values())
        self._turn = 1 - self._turn
        places = places_for(arrays, self._turn * size)
        block = self._link.block("observation", 2 * size + 64)
        for key, place in places.items():
            block.array(place)[...] = arrays[key]
        return places


def serve_env(connection: Connection, index: int, make_env: MakeEnv) -> None:
    """Make the env and carry out commands until told to stop, or until the vector is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all: the vector decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    link = Link(connection)
    try:
        env = make_env(index, SharedRenderer(link))
    except _MISTAKES as error:
        lost = isinstance(error, LOST)
        connection.send(Failed(portable(error), traceback.format_exc(), lost, fatal=True))
        return
    except Exception as error:  # whatever it is, the vector is to know, then this ends
        connection.send(Failed(portable(error), traceback.format_exc(), fatal=True))
        raise
    try:
        spaces = env.observation_space, env.action_space
        connection.send(Ready(*spaces, dict(env.metadata), env.render_mode))
        _serve(env, link)
    except (EOFError, ConnectionError):
        return  # the vector is gone
    finally:
        env.close()
        link.close()


def _serve(env: gymnasium.Env[Any, Any], link: Link) -> None:
    slots = ObservationSlots(link)
    while not isinstance(command := link.connection.recv(), Stop):
        answer: Done | Failed
        try:
            answer = _carry_out(env, command, link, slots)
        except (EOFError, ConnectionError):
            raise
        except LOST as error:
            answer = Failed(portable(error), traceback.format_exc(), lost=True)
        except _MISTAKES as error:
            answer = Failed(portable(error), traceback.format_exc())
        except Exception as error:  # whatever it is, the vector is to know, then this ends
            link.connection.send(Failed(portable(error), traceback.format_exc(), fatal=True))
            raise
        link.connection.send(answer)


def _carry_out(
    env: gymnasium.Env[Any, Any], command: Command, link: Link, slots: ObservationSlots
) -> Done:
    if isinstance(command, Call):
        found = env.get_wrapper_attr(command.name)
        return Done(found(*command.args, **command.kwargs) if callable(found) else found)
    if isinstance(command, Assign):
        env.set_wrapper_attr(command.name, command.value)
        return Done(None)
    link.seconds.clear()
    start_s = time.perf_counter()
    value: Any
    if isinstance(command, Reset):
        observation, value = env.reset(seed=command.seed, options=command.options)
    elif isinstance(command, Restore):
        observation, value = env.get_wrapper_attr("set_state")(command.state)
    else:
        assert isinstance(command, Step)
        observation, *value = env.step(command.action)
    end_s = time.perf_counter()
    places = slots.write(observation)
    frame: SensorFrame | None = getattr(env.unwrapped, "last_frame", None)
    stamps = frame.stamps if frame is not None else {}
    render_s = stamps.get("render", 0.0)
    simulate_s = sum(stamps.values()) - render_s
    seconds = {
        "simulate": simulate_s,
        "transfer": link.seconds["transfer"] + time.perf_counter() - end_s,
        "render": max(0.0, render_s - link.seconds["render"]),  # the vector times its own
        "observe": max(0.0, end_s - start_s - simulate_s - render_s),
    }
    return Done(value, places, seconds)


def _end_with_parent() -> None:
    """A process whose vector was killed must not outlive it, whatever it is doing."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    time.sleep(ORPHAN_S)
    os._exit(1)
