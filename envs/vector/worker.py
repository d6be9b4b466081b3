"""The process of one env, as the vector sees it: its state, its memory, its deadline."""

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

from pydantic import Field

from sim2street.bridge.errors import WorldLost
from sim2street.bridge.renderer import Renderer
from sim2street.configs import Sim2StreetError, StrictModel
from sim2street.envs.vector.child import MakeEnv, run_child
from sim2street.envs.vector.messages import (
    Command,
    Done,
    ErrorReply,
    Failed,
    MemoryRequest,
    Ready,
    RenderBatch,
    RendererCall,
    Reply,
    Reset,
    SetState,
    Stop,
)
from sim2street.envs.vector.shared_memory import Array, ArrayLocation, SharedBlock

_SPAWN = multiprocessing.get_context("spawn")

_MAX_START_PAUSE_S = 30.0
"""Longest pause before the next start, after starts that failed."""

_log = logging.getLogger(__name__)


class VectorDeadlines(StrictModel):
    """Seconds that the process of an env may take before it is killed and replaced.

    Attributes:
        start_s: to import, make the env and open the world.
        reset_s, step_s: for a reset and a step, not counting the renderer.
        recover_s: how long a step waits for a lost world to be reset, if its process is still
            running; after that, the reset goes on in the background.
        close_s: to close the world and exit.
    """

    start_s: float = Field(120.0, gt=0.0)
    reset_s: float = Field(120.0, gt=0.0)
    step_s: float = Field(60.0, gt=0.0)
    recover_s: float = Field(1.0, ge=0.0)
    close_s: float = Field(10.0, gt=0.0)


class Phase(enum.Enum):
    """What the process is doing."""

    NOT_RUNNING = "not running"
    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    AWAITING_IMAGES = "awaiting images"


class Worker:
    """A process with one env. Submit commands and collect their results; no call waits.

    Attributes:
        phase: what the process is doing.
        result: the result of the last command, until the caller sets it to None.
        ready: what the env has reported about itself, or None before its first start.
        render_batch: the images that it waits for, or None.
        exit_reason: why the process is not running.
        starts: how often a process has been started.
    """

    def __init__(
        self, index: int, make_env: MakeEnv, renderer: Renderer, deadlines: VectorDeadlines
    ) -> None:
        self.index = index
        self.phase = Phase.NOT_RUNNING
        self.result: Done | Failed | None = None
        self.ready: Ready | None = None
        self.render_batch: RenderBatch | None = None
        self.exit_reason = "it was never started"
        self.starts = 0
        self._make_env = make_env
        self._renderer = renderer
        self._deadlines = deadlines
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None
        self._blocks: dict[str, SharedBlock] = {}
        self._sessions: set[int] = set()
        self._queued: Command | None = None
        self._time_limit_s = self._deadline_s = self._next_start_s = 0.0
        self._failed_starts = 0

    @property
    def connection(self) -> Connection | None:
        """The connection on which its messages arrive, while there is a process."""
        return self._connection

    @property
    def owes_message(self) -> bool:
        """Whether the process must send the next message, before its deadline."""
        return self.phase in (Phase.STARTING, Phase.BUSY)

    @property
    def uses_shared_renderer(self) -> bool:
        """Whether it has open sessions of the vector's renderer."""
        return bool(self._sessions)

    @property
    def has_failed(self) -> bool:
        """Whether its result is an error other than a lost world."""
        return isinstance(self.result, Failed) and not self.result.world_lost

    @property
    def remaining_s(self) -> float:
        """Seconds until its deadline."""
        return self._deadline_s - time.monotonic()

    @property
    def may_start(self) -> bool:
        """Whether it is not running, and the pause after failed starts is over."""
        return self.phase is Phase.NOT_RUNNING and time.monotonic() >= self._next_start_s

    def start(self) -> None:
        """Start a new process. It will send `Ready`."""
        self._release()
        connection, child_connection = _SPAWN.Pipe()
        process = _SPAWN.Process(
            target=run_child,
            args=(child_connection, self.index, self._make_env),
            name=f"sim2street-env-{self.index}",
            daemon=True,
        )
        try:
            process.start()
        finally:
            child_connection.close()
        self._process, self._connection = process, connection
        self.starts += 1
        self.result = self._queued = None
        self._enter(Phase.STARTING, self._deadlines.start_s)

    def submit(self, command: Command) -> None:
        """Send a command. If the process is not idle, it follows when it is.

        The result of a command that is still being executed is dropped.
        """
        self.result = None
        if self.phase is not Phase.IDLE:
            self._queued = command
            return
        self._queued = None
        starts_episode = isinstance(command, Reset | SetState)
        limit_s = self._deadlines.reset_s if starts_episode else self._deadlines.step_s
        self._enter(Phase.BUSY, limit_s)
        self._send(command)

    def require_done(self) -> Done:
        """The result of the last command.

        Raises:
            WorldLost: the process is not running.
            Exception: the error that the command raised, if it failed.
        """
        if isinstance(self.result, Done):
            return self.result
        if isinstance(self.result, Failed):
            cause = RuntimeError(f"in env {self.index}:\n{self.result.traceback}")
            raise self.result.error from cause
        raise WorldLost(f"env {self.index}: {self.exit_reason}")

    def receive(self) -> None:
        """Receive a message, which must have arrived, and reply to it if possible."""
        assert self._connection is not None
        try:
            message = self._connection.recv()
        except (EOFError, OSError):
            self.terminate(self._describe_exit())
            return
        for block in self._blocks.values():
            block.remove_name()  # any message shows that the process has attached to them
        if isinstance(message, Ready):
            self.ready, self._failed_starts = message, 0
            self._become_idle()
        elif isinstance(message, RenderBatch):
            self.render_batch, self.phase = message, Phase.AWAITING_IMAGES
        elif isinstance(message, MemoryRequest | RendererCall):
            self.reply(self._reply_to(message))
        else:
            self._take_result(message)

    def reply(self, reply: Reply | ErrorReply) -> None:
        """Reply to its request. It goes on, with a new deadline."""
        if self.phase is Phase.AWAITING_IMAGES:
            self.render_batch, self.phase = None, Phase.BUSY
        self._enter(self.phase, self._time_limit_s)
        self._send(reply)

    def terminate(self, reason: str) -> None:
        """Kill the process, if it is running. Its command has no result."""
        if self.phase is Phase.NOT_RUNNING:
            return
        was_ready = self.phase is not Phase.STARTING
        self._failed_starts = 0 if was_ready else self._failed_starts + 1
        pause_s = 0.5 * 2**self._failed_starts if self._failed_starts else 0.0
        self._next_start_s = time.monotonic() + min(_MAX_START_PAUSE_S, pause_s)
        self.phase, self.exit_reason = Phase.NOT_RUNNING, reason
        self.render_batch = self._queued = None
        _log.warning("env %d of the vector: %s", self.index, reason)
        self._kill()

    def observation(self, locations: dict[str, ArrayLocation]) -> dict[str, Array]:
        """The observation of a `Done`, in shared memory: copy it at once."""
        block = self._blocks["observation"]
        return {key: block.array(location) for key, location in locations.items()}

    def block(self, kind: str) -> SharedBlock:
        """The memory of this kind that is shared with the process."""
        return self._blocks[kind]

    def request_stop(self) -> None:
        """Tell the process to close its world and exit."""
        if self._connection is not None and self.phase is not Phase.NOT_RUNNING:
            if self.phase is Phase.AWAITING_IMAGES:
                self._send(ErrorReply(WorldLost("the vector env is closing")))
            self._send(Stop())

    def join(self, end_s: float) -> None:
        """Wait for the process until `end_s` (monotonic), kill it after that, release all."""
        if self._process is not None and self.phase is not Phase.NOT_RUNNING:
            self._process.join(max(0.0, end_s - time.monotonic()))
        self.phase = Phase.NOT_RUNNING
        self._kill()
        self._release()

    def _enter(self, phase: Phase, limit_s: float) -> None:
        self.phase, self._time_limit_s = phase, limit_s
        self._deadline_s = time.monotonic() + limit_s

    def _become_idle(self) -> None:
        self.phase = Phase.IDLE
        if self._queued is not None:
            self.submit(self._queued)

    def _take_result(self, result: Done | Failed) -> None:
        if isinstance(result, Failed) and result.fatal:
            self.result = result
            self.terminate(f"{type(result.error).__name__}: {result.error}")
            return
        if self._queued is None:
            self.result = result
        self._become_idle()

    def _reply_to(self, request: MemoryRequest | RendererCall) -> Reply | ErrorReply:
        if isinstance(request, MemoryRequest):
            if request.kind in self._blocks:
                self._blocks[request.kind].close()
            self._blocks[request.kind] = SharedBlock.create(request.size_bytes)
            return Reply(self._blocks[request.kind].name)
        try:
            return Reply(self._call_renderer(request.name, *request.args))
        except Sim2StreetError as error:
            return ErrorReply(error)

    def _call_renderer(self, name: str, *args: Any) -> Any:
        if name == "load_session":  # pickled below if it comes from a vector
            saved = pickle.loads(args[1]) if isinstance(args[1], bytes) else args[1]
            return self._renderer.load_session(args[0], saved)
        value = getattr(self._renderer, name)(*args)
        if name == "open_session":
            self._sessions.add(value)
        elif name == "close_session":
            self._sessions.discard(args[0])
        elif name == "save_session" and value is not None:
            return pickle.dumps(value)
        return value

    def _send(self, message: Command | Reply | ErrorReply) -> None:
        assert self._connection is not None
        try:
            self._connection.send(message)
        except OSError:
            self.terminate(self._describe_exit())

    def _describe_exit(self) -> str:
        assert self._process is not None
        self._process.join(1.0)
        code = self._process.exitcode
        if code is None:
            return "its process closed the connection"
        if code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
        else:
            how = f"exited with code {code}"
        hint = ""
        if self.phase is Phase.STARTING:
            hint = (
                " before it was ready: see its output above. A script that makes a vector env "
                'must do so below `if __name__ == "__main__":`'
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
