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


class NotInStandIn(WorldError):
    """A client asked for something that CARLA has and the stand-in has not.

    The message begins with `_LACKS`.
    """


_LACKS = "the stand-in"
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
    """Answer one client until it closes the connection.

    A client does not wait for an answer to most of its calls. What the stand-in cannot do of
    these, it says in the answer to the next call that the client waits for.
    """
    missing: list[str] = []
    unpacker = msgpack.Unpacker(raw=False, strict_map_key=False, unicode_errors="replace")
    try:
        while data := await reader.read(_CHUNK_BYTES):
            unpacker.feed(data)
            for message in unpacker:
                answer = await _answer(handlers, message, missing)
                if answer is not None:
                    writer.write(msgpack.packb(answer, use_bin_type=True))
                    await writer.drain()
    except ConnectionError:
        logger.debug("a client closed the connection")
    finally:
        writer.close()


async def _answer(
    handlers: Mapping[str, Handler], message: Any, missing: list[str]
) -> list[Any] | None:
    """The answer to a message; None if there is none.

    `missing`: what the client does not know yet that the stand-in lacks; emptied by an answer.
    """
    kind, *rest = message
    if kind != _REQUEST:
        return None
    number, name, (metadata, *arguments) = rest
    is_async = bool(metadata and metadata[0])
    handler = handlers.get(name)
    if handler is None:
        logger.warning("a client called '%s', which the stand-in does not have", name)
        if is_async:
            missing.append(f"the stand-in has no '{name}', which this client has called")
            return None
        return [_ANSWER, number, f"the stand-in has no '{name}'", None]
    if missing and not is_async:
        text = "; ".join(missing)
        missing.clear()
        return [_ANSWER, number, None, handler.error(text)]
    result = await _result(handler, name, arguments, missing if is_async else None)
    return None if is_async else [_ANSWER, number, None, result]


async def _result(
    handler: Handler, name: str, arguments: list[Any], missing: list[str] | None
) -> Any:
    """What a call gives, or its error. `missing`: of a call whose answer nobody reads."""
    try:
        value = handler.function(*arguments)
        if inspect.isawaitable(value):
            value = await value
        if missing is not None and handler.wrap == "bare":
            missing.extend(_missing_in_batch(value))
        return handler.result(value)
    except NotInStandIn as error:
        logger.warning("'%s': %s", name, error)
        if missing is not None:
            missing.append(f"'{name}': {error}")
        return handler.error(str(error))
    except WorldError as error:
        return handler.error(str(error))
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        # No client library of these versions sends such arguments: report it and go on.
        logger.warning("a client called '%s' with arguments that do not fit: %s", name, error)
        return handler.error(f"the arguments of '{name}' do not fit: {error}")


def _missing_in_batch(results: list[Any]) -> list[str]:
    """Of a batch's results, the errors for what the stand-in lacks."""
    texts = [result[0][1][0] for result in results if result[0][0] == 0]
    return [text for text in texts if text.startswith(_LACKS)]
