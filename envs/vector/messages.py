"""What a vector env and the processes of its worlds say to each other.

The vector commands; while it carries a command out, a process may ask for something, and
goes on when it is granted or refused; then it answers.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gymnasium import spaces

from sim2street.bridge.renderer import RenderRequest
from sim2street.envs.vector.shared_memory import Place


@dataclass(frozen=True, slots=True)
class Reset:
    """Command: start an episode."""

    seed: int | None = None
    options: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """Command: one step."""

    action: Any


@dataclass(frozen=True, slots=True)
class Restore:
    """Command: go on from a snapshot that an env's `get_state` has made."""

    state: Any


@dataclass(frozen=True, slots=True)
class Call:
    """Command: call a method of the env, or read an attribute of it."""

    name: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Assign:
    """Command: set an attribute of the env."""

    name: str
    value: Any


@dataclass(frozen=True, slots=True)
class Stop:
    """Command: close the env and end. Has no answer."""


Command = Reset | Step | Restore | Call | Assign | Stop


@dataclass(frozen=True, slots=True)
class Ready:
    """The env is made: what it says of itself."""

    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    metadata: dict[str, Any]
    render_mode: str | None


@dataclass(frozen=True, slots=True)
class MemoryAsk:
    """Asks for the name of a block of `size` bytes, in place of the last one of that kind."""

    kind: str
    size: int


@dataclass(frozen=True, slots=True)
class RendererAsk:
    """Asks for what the renderer's method `name` returns; everything but `render`."""

    name: str
    args: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class PackedRequest:
    """A request to render whose arrays lie in the block "views".

    Attributes:
        request: without arrays and actors.
        arrays: of the view, by the name of the field. actors: see `vector_views`.
        rgb: where the picture is to go.
    """

    request: RenderRequest
    arrays: dict[str, Place]
    actors: dict[str, Place]
    rgb: Place


@dataclass(frozen=True, slots=True)
class RenderAsk:
    """Asks for pictures; granted with one bool each: whether its session was reopened."""

    requests: list[PackedRequest]


Ask = MemoryAsk | RendererAsk | RenderAsk


@dataclass(frozen=True, slots=True)
class Granted:
    """What was asked for."""

    value: Any


@dataclass(frozen=True, slots=True)
class Refused:
    """Why not: the error is raised where it was asked."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Done:
    """Answer: a command was carried out.

    Attributes:
        value: reset, restore: info; step: (reward, terminated, truncated, info); else the
            result.
        places: where in the block "observation" the observation lies, by key; "" where
            the space is no Dict.
        seconds: spent per stage ("simulate", "transfer", "render", "observe").
    """

    value: Any
    places: dict[str, Place] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failed:
    """Answer: a command raised an error.

    Attributes:
        trace: the traceback, as text.
        lost: the world was lost: another reset may work.
        fatal: nobody knows in what state the env is: the process has ended itself.
    """

    error: Exception
    trace: str
    lost: bool = False
    fatal: bool = False


def portable(error: Exception) -> Exception:
    """The error, or where it cannot travel between processes, one that tells the same."""
    try:
        pickle.loads(pickle.dumps(error))
    except (pickle.PickleError, TypeError, AttributeError, ValueError, ImportError):
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
