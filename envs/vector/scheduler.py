"""The worlds of a vector env at work: who simulates when, and what is rendered together.

The worlds are two halves. While one half's views are rendered in one batch, here, the
other half simulates in its own processes. At most as many worlds simulate at a time as
there are cores: so the first half is soon complete, instead of all being late together.
(Where nothing is rendered here, all are sent off at once.)
Which views share a batch depends on nothing but the commands, so a seed fixes it all.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from multiprocessing.connection import wait

from sim2street.bridge.errors import PeerTimeout, RendererError, RendererLost
from sim2street.bridge.renderer import Renderer, Rendering, RenderRequest
from sim2street.configs import Sim2StreetError
from sim2street.envs.vector.child import MakeEnv
from sim2street.envs.vector.messages import Command, Granted, Refused
from sim2street.envs.vector.render_requests import read_request
from sim2street.envs.vector.worker import Phase, VectorDeadlines, Worker


class Crew:
    """The processes of a vector's worlds, and the renderer that they share.

    Attributes:
        render_s: seconds spent rendering so far.
    """

    def __init__(
        self,
        make_env: MakeEnv,
        count: int,
        renderer: Renderer,
        deadlines: VectorDeadlines,
        at_once: int | None = None,
    ) -> None:
        """`at_once`: how many worlds simulate at a time; as many as there are cores."""
        self.workers = [Worker(i, make_env, renderer, deadlines) for i in range(count)]
        self.render_s = 0.0
        self._renderer = renderer
        self._deadlines = deadlines
        self._at_once = at_once or _cores()
        middle = (count + 1) // 2
        self._halves = [half for half in (range(middle), range(middle, count)) if half]

    def start(self) -> None:
        """Start all processes and wait until all are ready.

        Raises:
            The error that kept an env from being made, or WorldLost.
        """
        for worker in self.workers:
            worker.start()
        while any(worker.phase is Phase.STARTING for worker in self.workers):
            self._listen([w for w in self.workers if w.phase is Phase.STARTING], None)
            for worker in self.workers:
                if worker.phase is Phase.GONE:
                    worker.require_done()

    def run(
        self, commands: Mapping[int, Command], patient: Collection[int] = (), patience_s: float = 0
    ) -> None:
        """Have all commands carried out; each worker then has a result, or is gone.

        `patient` have been submitted a command before: they are waited for too, but no
        longer than `patience_s`. All others that are at something go on in the background.
        """
        give_up_s = time.monotonic() + patience_s
        to_come = deque(sorted(commands))
        shared = any(worker.is_rendered for worker in self.workers)
        at_once = self._at_once if shared else len(self.workers)
        expected = {*commands, *patient}
        try:
            while True:
                if patient and time.monotonic() >= give_up_s:
                    expected -= {i for i in patient if i not in commands}
                busy = [i for i in expected if not self._is_through(i) and i not in to_come]
                while to_come and len([i for i in busy if self._simulates(i)]) < at_once:
                    busy.append(self._submit(to_come.popleft(), commands))
                batch = self._batch(expected, to_come)
                if batch:
                    while to_come:  # while we render, we cannot send for the next one
                        self._submit(to_come.popleft(), commands)
                    self._render(batch)
                elif to_come or any(not self._is_through(i) for i in expected):
                    until_s = give_up_s if expected & set(patient) else None
                    self._listen(self.workers, until_s)
                else:
                    return
        except BaseException:  # Ctrl-C too: nobody knows who had done and said what
            for worker in self.workers:
                if worker.phase is not Phase.IDLE:
                    worker.lose("its vector was interrupted")
            raise

    def close(self) -> None:
        """End all processes: those that have not closed their world in time are killed."""
        for worker in self.workers:
            worker.ask_to_stop()
        end_s = time.monotonic() + self._deadlines.close_s
        for worker in self.workers:
            worker.join(end_s)

    def _submit(self, index: int, commands: Mapping[int, Command]) -> int:
        self.workers[index].submit(commands[index])
        return index

    def _is_through(self, index: int) -> bool:
        worker = self.workers[index]
        return worker.result is not None or worker.phase is Phase.GONE

    def _simulates(self, index: int) -> bool:
        return self.workers[index].phase is Phase.BUSY

    def _batch(self, expected: Collection[int], to_come: Collection[int]) -> list[Worker]:
        """Who is rendered next: a half of which nobody expected still simulates."""
        for half in self._halves:
            waiting = [
                self.workers[i] for i in half if self.workers[i].phase is Phase.AWAITING_PICTURE
            ]
            unfinished = any(
                i in to_come or not (self._is_through(i) or self.workers[i] in waiting)
                for i in half
                if i in expected
            )
            if waiting and not unfinished:
                return waiting
        return []

    def _listen(self, workers: Sequence[Worker], until_s: float | None) -> None:
        """Hear everybody who has something to say, and end those who are overdue."""
        talking = [w for w in workers if not w.waits_for_us or w.phase is Phase.IDLE]
        lines = {w.connection: w for w in talking if w.connection is not None}
        limits_s = [w.left_s for w in talking if not w.waits_for_us]
        if until_s is not None:
            limits_s.append(until_s - time.monotonic())
        heard = wait(list(lines), max(0.0, min(limits_s, default=0.0)))
        for line in heard:
            lines[line].hear()  # type: ignore[index]
        for worker in talking:
            if not worker.waits_for_us and worker.left_s <= 0 and worker.connection not in heard:
                worker.lose("its process did not answer within its deadline")

    def _render(self, batch: Sequence[Worker]) -> None:
        start_s = time.perf_counter()
        requests: list[RenderRequest] = []
        for worker in batch:
            assert worker.asked is not None
            block = worker.block("views")
            requests.extend(read_request(block, packed) for packed in worker.asked.requests)
        answers = _render_all(self._renderer, requests)
        for worker in batch:
            assert worker.asked is not None
            mine = [answers.pop(0) for _ in worker.asked.requests]
            error = next((answer for answer in mine if isinstance(answer, Exception)), None)
            if error is not None:
                worker.grant(Refused(error))
                continue
            flags: list[bool] = []
            for packed, rendering in zip(worker.asked.requests, mine, strict=True):
                assert isinstance(rendering, Rendering)
                worker.block("views").array(packed.rgb)[...] = rendering.rgb
                flags.append(rendering.reopened)
            worker.grant(Granted(flags))
        self.render_s += time.perf_counter() - start_s


def _render_all(
    renderer: Renderer, requests: Sequence[RenderRequest]
) -> list[Rendering | Sim2StreetError]:
    """All in one batch; where that is refused, one by one: only the guilty get the error."""
    try:
        return [*renderer.render(requests)]
    except (RendererLost, PeerTimeout) as error:
        return [error] * len(requests)
    except RendererError as error:
        if len(requests) == 1:
            return [error]
    return [answer for request in requests for answer in _render_all(renderer, [request])]


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
