"""msgpack-RPC over TCP as CARLA's server speaks it: msgpack objects, one after the other.

A request is `[0, id, name, [[is_async], argument...]]`, its answer `[1, id, None, result]`.
A request with `is_async` gets no answer.
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

_CHUNK_BYTES = 1 << 16
_REQUEST, _ANSWER = 0, 1


@dataclass(frozen=True, slots=True)
class Handler:
    """Answers the requests of one name.

    Attributes:
        function: takes the arguments after the metadata.
        wrap: how to wrap its result: "value" as CARLA's Response<T>, "void" as Response<void>,
            "bare" not at all.
    """

    function: Callable[..., Any | Awaitable[Any]]
    wrap: Literal["value", "void", "bare"] = "value"

    def result(self, value: Any) -> Any:
        """A result as the client expects it."""
        return {"value": [[1, value]], "void": [[False]], "bare": value}[self.wrap]

    def error(self, message: str) -> Any:
        """An error as the client expects it."""
        failed = [[0, [message]]]
        return {"value": failed, "void": [[True, [message]]], "bare": [failed]}[self.wrap]


async def serve_rpc(
    handlers: Mapping[str, Handler], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Answer one client until it closes the connection."""
    unpacker = msgpack.Unpacker(raw=False, strict_map_key=False, unicode_errors="replace")
    try:
        while data := await reader.read(_CHUNK_BYTES):
            unpacker.feed(data)
            for message in unpacker:
                answer = await _answer(handlers, message)
                if answer is not None:
                    writer.write(msgpack.packb(answer, use_bin_type=True))
                    await writer.drain()
    except ConnectionError:
        logger.debug("a client closed the connection")
    finally:
        writer.close()


async def _answer(handlers: Mapping[str, Handler], message: Any) -> list[Any] | None:
    kind, *rest = message
    if kind != _REQUEST:
        return None
    number, name, (metadata, *arguments) = rest
    handler = handlers.get(name)
    if handler is None:
        logger.warning("a client called '%s', which the stand-in does not have", name)
        return [_ANSWER, number, f"the stand-in has no '{name}'", None]
    try:
        value = handler.function(*arguments)
        if inspect.isawaitable(value):
            value = await value
        result = handler.result(value)
    except WorldError as error:
        result = handler.error(str(error))
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        # No client library of these versions sends such arguments: report it and go on.
        logger.warning("a client called '%s' with arguments that do not fit: %s", name, error)
        result = handler.error(f"the arguments of '{name}' do not fit: {error}")
    is_async = bool(metadata and metadata[0])
    return None if is_async else [_ANSWER, number, None, result]
