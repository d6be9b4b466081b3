"""msgpack-RPC over TCP as CARLA's server speaks it: objects one after the other.

Request `[0, id, name, [[is_async], argument...]]`, answer `[1, id, None, result]`; a
request marked asynchronous gets no answer.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgpack

from sim2street.bridge.errors import WorldError

logger = logging.getLogger(__name__)

_CHUNK = 1 << 16
_REQUEST, _ANSWER = 0, 1


@dataclass(frozen=True, slots=True)
class Call:
    """What answers a request, and how its result is wrapped.

    Attributes:
        function: takes the arguments after the metadata.
        wrap: "value" and "void" are CARLA's Response<T> and Response<void>; "bare" is sent
            as it is.
    """

    function: Callable[..., Any | Awaitable[Any]]
    wrap: Literal["value", "void", "bare"] = "value"

    def result(self, value: Any) -> Any:
        """A result as the client expects it."""
        return {"value": [[1, value]], "void": [[False]], "bare": value}[self.wrap]

    def error(self, message: str) -> Any:
        """A failure as the client expects it."""
        failed = [[0, [message]]]
        return {"value": failed, "void": [[True, [message]]], "bare": [failed]}[self.wrap]


async def serve_rpc(
    calls: Mapping[str, Call], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answer one client until it goes."""
    unpacker = msgpack.Unpacker(raw=False, strict_map_key=False, unicode_errors="replace")
    try:
        while data := await reader.read(_CHUNK):
            unpacker.feed(data)
            for message in unpacker:
                answer = await _answer(calls, message)
                if answer is not None:
                    writer.write(msgpack.packb(answer, use_bin_type=True))
                    await writer.drain()
    except ConnectionError:
        logger.debug("a client went away")
    finally:
        writer.close()


async def _answer(calls: Mapping[str, Call], message: Any) -> list | None:
    kind, *rest = message
    if kind != _REQUEST:
        return None
    number, name, (metadata, *arguments) = rest
    call = calls.get(name)
    if call is None:
        logger.warning("the client asked for '%s', which the stand-in does not have", name)
        return [_ANSWER, number, f"the stand-in has no '{name}'", None]
    try:
        value = call.function(*arguments)
        if inspect.isawaitable(value):
            value = await value
        result = call.result(value)
    except WorldError as error:
        result = call.error(str(error))
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        # Arguments that no client library of these versions sends: say so, and live on.
        logger.warning("'%s' came with arguments that make no sense here: %s", name, error)
        result = call.error(f"the stand-in cannot make sense of '{name}': {error}")
    is_async = bool(metadata and metadata[0])
    return None if is_async else [_ANSWER, number, None, result]
