"""Reads requests from stdin until it is closed and writes the answers to stdout."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from failures import ChildError
from pipe import read_message, write_message

ORPHAN_S = 8.0
"""How long this process may live on after its parent, to restore the server's state."""


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
    requests = queue.Queue()  # type: queue.Queue[dict[str, Any] | None]
    threading.Thread(target=read_requests, args=(requests,), daemon=True).start()
    session = Session()
    try:
        serve(session, requests, answers)
    except BrokenPipeError:
        sys.stderr.write("the parent process has ended without closing this client\n")
    finally:
        session.close()


def read_requests(requests: queue.Queue[dict[str, Any] | None]) -> None:
    """Thread: put every request into the queue, and None once the parent has closed the pipe.

    From then on the process has a deadline, because nobody is left to end it: calls of the
    client library may wait for a dead server again and again.
    """
    message = read_message(sys.stdin.buffer)
    while message is not None:
        requests.put(message[0])
        message = read_message(sys.stdin.buffer)
    end_process_in(ORPHAN_S)
    requests.put(None)


def end_process_in(seconds: float) -> None:
    """End this process then, even if a call holds Python's lock: by a signal where there is one."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)  # SIGALRM ends a process that has no handler
        return
    timer = threading.Timer(seconds, os._exit, (1,))
    timer.daemon = True
    timer.start()


def serve(session: Any, requests: queue.Queue[dict[str, Any] | None], answers: Any) -> None:
    """Answer requests in order until the parent closes the pipe or sends `close`."""
    while True:
        request = requests.get()
        if request is None:
            return
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
        session.a_call_failed = True
        kind = "server" if "time-out" in str(error) else "call"
        yield {"error": kind, "message": str(error)}, []


if __name__ == "__main__":
    main()
    sys.stderr.flush()
    os._exit(0)  # an ordinary exit may abort in the client library's threads
