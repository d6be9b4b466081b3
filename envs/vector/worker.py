"""One world of a vector env, as the vector sees it: a process, its memory, its deadline."""

from __future__ import annotations

import enum
import logging
import multiprocessing
import pickle
import signal
import time
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

import numpy as np
from pydantic import Field

from sim2street.bridge.errors import WorldLost
from sim2street.bridge.renderer import Renderer
from sim2street.configs import Sim2StreetError, StrictModel
from sim2street.envs.vector.child import MakeEnv, serve_env
from sim2street.envs.vector.messages import (
    Command,
    Done,
    Failed,
    Granted,
    MemoryAsk,
    Ready,
    Refused,
    RenderAsk,
    RendererAsk,
    Reset,
    Restore,
    Stop,
)
from sim2street.envs.vector.shared_memory import Block, Place

_SPAWN = multiprocessing.get_context("spawn")
_MOST_PAUSE_S = 30.0

_log = logging.getLogger(__name__)


class VectorDeadlines(StrictModel):
    """How long the process of a world may take before it is ended and replaced.

    Attributes:
        start_s: to import, make the env and open the world.
        reset_s, step_s: for these commands, without what the renderer takes.
        recover_s: how long the others wait for the first reset after a world was lost whose
            process lives on; after that it goes on in the background.
        close_s: to close the world and end.
    """

    start_s: float = Field(120.0, gt=0.0)
    reset_s: float = Field(120.0, gt=0.0)
    step_s: float = Field(60.0, gt=0.0)
    recover_s: float = Field(1.0, ge=0.0)
    close_s: float = Field(10.0, gt=0.0)


class Phase(enum.Enum):
    """What a worker is doing."""

    GONE = "gone"
    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    AWAITING_PICTURE = "awaiting a picture"


class Worker:
    """A process with one env. Commands are submitted, answers are collected; nothing waits.

    Attributes:
        phase: what it is doing. result: the answer to the last command, until collected.
        ready: what the env said of itself. asked: the pictures it waits for.
        why_gone: how the process ended. starts: how often one was started.
    """

    def __init__(
        self, index: int, make_env: MakeEnv, renderer: Renderer, deadlines: VectorDeadlines
    ) -> None:
        self.index = index
        self.phase = Phase.GONE
        self.result: Done | Failed | None = None
        self.ready: Ready | None = None
        self.asked: RenderAsk | None = None
        self.why_gone = "it was never started"
        self.starts = 0
        self._make_env = make_env
        self._renderer = renderer
        self._deadlines = deadlines
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None
        self._blocks: dict[str, Block] = {}
        self._sessions: set[int] = set()
        self._queued: Command | None = None
        self._limit_s = self._deadline_s = self._retry_s = 0.0
        self._failed_starts = 0

    @property
    def pid(self) -> int | None:
        """Of the process, for those who watch processes."""
        return self._process.pid if self._process is not None else None

    @property
    def connection(self) -> Connection | None:
        """What to wait on for its next word, while there is a process."""
        return self._connection

    @property
    def waits_for_us(self) -> bool:
        """Whether its next word is ours to give, not its own."""
        return self.phase in (Phase.GONE, Phase.IDLE, Phase.AWAITING_PICTURE)

    @property
    def is_rendered(self) -> bool:
        """Whether its views are rendered by the renderer that all share."""
        return bool(self._sessions)

    @property
    def has_failed(self) -> bool:
        """Whether its answer is an error that is none of a lost world."""
        return isinstance(self.result, Failed) and not self.result.lost

    @property
    def left_s(self) -> float:
        """Seconds until its deadline."""
        return self._deadline_s - time.monotonic()

    @property
    def may_start(self) -> bool:
        """Whether it is gone, and the pause after failed starts is over."""
        return self.phase is Phase.GONE and time.monotonic() >= self._retry_s

    def start(self) -> None:
        """Start a fresh process; it says when it is ready."""
        self._release()
        connection, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(
            target=serve_env,
            args=(theirs, self.index, self._make_env),
            name=f"sim2street-world-{self.index}",
            daemon=True,
        )
        try:
            process.start()
        finally:
            theirs.close()
        self._process, self._connection = process, connection
        self.starts += 1
        self.result = self._queued = None
        self._expect(Phase.STARTING, self._deadlines.start_s)

    def submit(self, command: Command) -> None:
        """Have a command carried out, after the present one, whose answer is dropped."""
        self.result = None
        if self.phase is not Phase.IDLE:
            self._queued = command
            return
        self._queued = None
        begins = isinstance(command, Reset | Restore)
        limit_s = self._deadlines.reset_s if begins else self._deadlines.step_s
        self._expect(Phase.BUSY, limit_s)
        self._send(command)

    def require_done(self) -> Done:
        """The answer to the last command; where it failed, its error is raised."""
        if isinstance(self.result, Done):
            return self.result
        if isinstance(self.result, Failed):
            trace = RuntimeError(f"in world {self.index}:\n{self.result.trace}")
            raise self.result.error from trace
        raise WorldLost(f"world {self.index}: {self.why_gone}")

    def hear(self) -> None:
        """Take its next word, which has to be there, and answer what can be answered."""
        assert self._connection is not None
        try:
            message = self._connection.recv()
        except (EOFError, OSError):
            self.lose(self._last_words())
            return
        for block in self._blocks.values():
            block.forget_name()  # whatever it says, it has attached before
        if isinstance(message, Ready):
            self.ready, self._failed_starts = message, 0
            self._rest()
        elif isinstance(message, RenderAsk):
            self.asked, self.phase = message, Phase.AWAITING_PICTURE
        elif isinstance(message, MemoryAsk | RendererAsk):
            self.grant(self._answer(message))
        else:
            self._finish(message)

    def grant(self, answer: Granted | Refused) -> None:
        """Give what it asked for; it goes on, with a new deadline."""
        if self.phase is Phase.AWAITING_PICTURE:
            self.asked, self.phase = None, Phase.BUSY
        self._expect(self.phase, self._limit_s)
        self._send(answer)

    def lose(self, why: str) -> None:
        """End the process, if it has not ended; what it was doing is over."""
        if self.phase is Phase.GONE:
            return
        started = self.phase is not Phase.STARTING
        self._failed_starts = 0 if started else self._failed_starts + 1
        pause_s = min(_MOST_PAUSE_S, 0.5 * 2**self._failed_starts) if self._failed_starts else 0.0
        self._retry_s = time.monotonic() + pause_s
        self.phase, self.why_gone = Phase.GONE, why
        self.asked = self._queued = None
        _log.warning("world %d: %s", self.index, why)
        self._kill()

    def observation(self, places: dict[str, Place]) -> dict[str, np.ndarray]:
        """Windows on the observation of a Done: to be copied at once."""
        block = self._blocks["observation"]
        return {key: block.array(place) for key, place in places.items()}

    def block(self, kind: str) -> Block:
        """The memory shared with the process."""
        return self._blocks[kind]

    def ask_to_stop(self) -> None:
        """Tell the process to close its world and end."""
        if self._connection is not None and self.phase is not Phase.GONE:
            if self.phase is Phase.AWAITING_PICTURE:
                self._send(Refused(WorldLost("the vector env is closing")))
            self._send(Stop())

    def join(self, end_s: float) -> None:
        """Wait for its end until `end_s` (monotonic), then end it; release everything."""
        if self._process is not None and self.phase is not Phase.GONE:
            self._process.join(max(0.0, end_s - time.monotonic()))
        self.phase = Phase.GONE
        self._kill()
        self._release()

    def _expect(self, phase: Phase, limit_s: float) -> None:
        self.phase, self._limit_s = phase, limit_s
        self._deadline_s = time.monotonic() + limit_s

    def _rest(self) -> None:
        self.phase = Phase.IDLE
        if self._queued is not None:
            self.submit(self._queued)

    def _finish(self, answer: Done | Failed) -> None:
        if isinstance(answer, Failed) and answer.fatal:
            self.result = answer
            self.lose(f"{type(answer.error).__name__}: {answer.error}")
        elif self._queued is None:
            self.result = answer
            self._rest()
        else:
            self._rest()

    def _answer(self, ask: MemoryAsk | RendererAsk) -> Granted | Refused:
        if isinstance(ask, MemoryAsk):
            if ask.kind in self._blocks:
                self._blocks[ask.kind].close()
            self._blocks[ask.kind] = Block.create(ask.size)
            return Granted(self._blocks[ask.kind].name)
        try:
            return Granted(self._ask_renderer(ask.name, *ask.args))
        except Sim2StreetError as error:
            return Refused(error)

    def _ask_renderer(self, name: str, *args: Any) -> Any:
        if name == "load_session":  # it was saved by this or another worker of ours
            return self._renderer.load_session(args[0], pickle.loads(args[1]))
        value = getattr(self._renderer, name)(*args)
        if name == "open_session":
            self._sessions.add(value)
        elif name == "close_session":
            self._sessions.discard(args[0])
        elif name == "save_session" and value is not None:
            return pickle.dumps(value)
        return value

    def _send(self, message: Command | Granted | Refused) -> None:
        assert self._connection is not None
        try:
            self._connection.send(message)
        except OSError:
            self.lose(self._last_words())

    def _last_words(self) -> str:
        assert self._process is not None
        self._process.join(1.0)
        code = self._process.exitcode
        if code is None:
            return "its process closed the line"
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        hint = ""
        if self.phase is Phase.STARTING:
            hint = (
                " before it was ready: its own words are above; a script that makes a vector "
                'env does so below `if __name__ == "__main__":`'
            )
        return f"its process {how}{hint}"

    def _kill(self) -> None:
        if self._process is not None and self._process.is_alive():
            self._process.kill()
            self._process.join(5.0)

    def _release(self) -> None:
        for session in self._sessions:
            self._renderer.close_session(session)
        self._sessions.clear()
        while self._blocks:
            self._blocks.popitem()[1].close()
        if self._connection is not None:
            self._connection.close()
        if self._process is not None and not self._process.is_alive():
            self._process.close()
        self._process = self._connection = None
