"""Messages between a vector env and the processes of its envs.

The vector sends a command. While the process executes it, the process may send requests, and
waits for the reply to each. It ends by sending the result of the command.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gymnasium import spaces

from sim2street.bridge.renderer import RenderRequest
from sim2street.envs.vector.shared_memory import ArrayLocation


@dataclass(frozen=True, slots=True)
class Reset:
    """Command: start an episode."""

    seed: int | None = None
    options: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """Command: make one step."""

    action: Any


@dataclass(frozen=True, slots=True)
class SetState:
    """Command: go back to a snapshot that `DrivingEnv.get_state` has made."""

    state: Any


@dataclass(frozen=True, slots=True)
class Call:
    """Command: call a method of the env, or read an attribute."""

    name: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SetAttribute:
    """Command: set an attribute of the env."""

    name: str
    value: Any


@dataclass(frozen=True, slots=True)
class Stop:
    """Command: close the env and exit. It has no result."""


Command = Reset | Step | SetState | Call | SetAttribute | Stop


@dataclass(frozen=True, slots=True)
class Ready:
    """Sent once, when the env has been made."""

    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    metadata: dict[str, Any]
    render_mode: str | None


@dataclass(frozen=True, slots=True)
class MemoryRequest:
    """Request: a new block of `size_bytes` in place of the old one of this kind.

    The reply is its name.
    """

    kind: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class RendererCall:
    """Request: call the renderer's method `name` (any but `render`). The reply is its value."""

    name: str
    args: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class PackedRequest:
    """A render request whose arrays lie in the shared block "views".

    Attributes:
        request: the request without arrays and actors.
        arrays: array of the view -> its location.
        actors: array of `render_requests.actor_arrays` -> its location.
        rgb: where the vector writes the rendered image.
    """

    request: RenderRequest
    arrays: dict[str, ArrayLocation]
    actors: dict[str, ArrayLocation]
    rgb: ArrayLocation


@dataclass(frozen=True, slots=True)
class RenderBatch:
    """Request: render these images. The reply is `Rendering.reopened` of each."""

    requests: list[PackedRequest]


ProcessRequest = MemoryRequest | RendererCall | RenderBatch


@dataclass(frozen=True, slots=True)
class Reply:
    """Reply to a request."""

    value: Any


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """Reply to a request that failed: the process raises the error."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Done:
    """Result of a command that succeeded.

    Attributes:
        value: for `Reset` and `SetState` the info, for `Step` (reward, terminated, truncated,
            info), otherwise what the method returned or the attribute holds.
        observation: observation key -> its location in the shared block "observation"; the
            key is "" if the observation is not a dict.
        stage_seconds: seconds spent per stage ("simulate", "transfer", "render", "observe").
    """

    value: Any
    observation: dict[str, ArrayLocation] = field(default_factory=dict)
    stage_seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failed:
    """Result of a command that raised an error.

    Attributes:
        traceback: the traceback as text.
        world_lost: whether the error means that the world was lost: another reset may work.
        fatal: whether the process exits, because the env may be in any state.
    """

    error: Exception
    traceback: str
    world_lost: bool = False
    fatal: bool = False


def picklable(error: Exception) -> Exception:
    """The error itself, or a RuntimeError with its text if it cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))
    except (pickle.PickleError, TypeError, AttributeError, ValueError, ImportError):
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
