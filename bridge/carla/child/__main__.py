"""Answers requests on stdin until it is closed; answers go to the stdout it began with."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

from failures import ChildError
from pipe import read_message, write_message


def main() -> None:
    """Serve one parent, then leave the server as it was found."""
    # The client library writes to stdout as well: it gets stderr, the pipe is ours alone.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
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
    """Each request gets its answers, in order."""
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
    """The results of one request; a failure is the last."""
    try:
        result = getattr(session, request["call"])(request)
        yield from ([(result, [])] if isinstance(result, dict) else result)
    except ChildError as error:
        yield {"error": error.kind, "message": str(error)}, []
    except RuntimeError as error:  # all that the client library raises
        yield {"error": "server", "message": str(error)}, []


if __name__ == "__main__":
    main()
    sys.stderr.flush()
    os._exit(0)  # the client's threads may abort an orderly exit
