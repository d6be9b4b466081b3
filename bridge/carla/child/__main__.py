"""Reads requests from stdin until it is closed and writes the answers to stdout."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

from failures import ChildError
from pipe import read_message, write_message


def main() -> None:
    """Serve the parent process, then restore the server's state."""
    # The client library prints to stdout. Send that to stderr, so that only answers go to the pipe.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    try:
        from session import Session
    except ImportError as error:
        write_message(answers, {"error": "import", "message": str(error)})
        return
    session = Session()
    try:
        serve(session, answers)
    finally:
        session.close()


def serve(session: Any, answers: Any) -> None:
    """Answer requests in order until the parent closes the pipe or sends `close`."""
    requests = sys.stdin.buffer
    while True:
        message = read_message(requests)
        if message is None:
            return
        request, _ = message
        if request["call"] == "close":
            write_message(answers, {"failed": session.close()})
            return
        for header, buffers in answers_to(session, request):
            write_message(answers, header, buffers)


def answers_to(session: Any, request: dict[str, Any]) -> Iterator[tuple[dict[str, Any], list[Any]]]:
    """The one or two answers to a request. After a failure, which is an answer, none follows."""
    try:
        result = getattr(session, request["call"])(request)
        yield from ([(result, [])] if isinstance(result, dict) else result)
    except ChildError as error:
        yield {"error": error.kind, "message": str(error)}, []
    except RuntimeError as error:  # the only exception type that the client library raises
        yield {"error": "server", "message": str(error)}, []


if __name__ == "__main__":
    main()
    sys.stderr.flush()
    os._exit(0)  # an ordinary exit may abort in the client library's threads
