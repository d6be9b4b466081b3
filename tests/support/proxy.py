"""A proxy between client and server that loses, doubles or delays chosen messages."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import zmq

from sim2street.bridge.closing import Closing

Rule = Callable[[str, list[bytes]], list[list[bytes]]]
"""Takes the direction ("request" or "reply") and the parts of a message; returns the messages
to pass on instead."""


class Proxy(Closing):
    """Listens at `endpoint`, applies a rule to every message and passes it on to a server."""

    def __init__(self, server: str, rule: Rule) -> None:
        self._rule = rule
        self._stop = threading.Event()
        self._context = zmq.Context()
        self._front = self._context.socket(zmq.ROUTER)
        self._back = self._context.socket(zmq.DEALER)
        for socket in (self._front, self._back):
            socket.linger = 0
        port = self._front.bind_to_random_port("tcp://127.0.0.1")
        self.endpoint = f"tcp://127.0.0.1:{port}"
        self._back.connect(server)
        self._route = b""
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        poller = zmq.Poller()
        poller.register(self._front, zmq.POLLIN)
        poller.register(self._back, zmq.POLLIN)
        while not self._stop.is_set():
            ready = dict(poller.poll(50))
            if self._front in ready:
                self._route, *parts = self._front.recv_multipart()
                for message in self._rule("request", parts):
                    self._back.send_multipart(message)
            if self._back in ready:
                for message in self._rule("reply", self._back.recv_multipart()):
                    self._front.send_multipart([self._route, *message])

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._context.destroy(linger=0)


def kind_of(parts: list[bytes]) -> str:
    """The `kind` in a message's header."""
    kind: str = json.loads(parts[0])["kind"]
    return kind
