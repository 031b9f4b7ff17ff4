"""Whether to send requests here: one answer, for the admin port and, with `listen.health`, for the data port."""

import asyncio
from collections.abc import Callable

from unbuffer.server.lifecycle import Lifecycle, State
from unbuffer.server.upstream_check import UpstreamCheck


async def readiness(lifecycle: Lifecycle, upstream: UpstreamCheck, reasons: bool) -> tuple[bool, str]:
    """Whether this process is ready, and each check in the form of the Kubernetes API server. reasons: with what the
    check met; it names the upstream's address."""
    up, why_not = await upstream.check()
    why_not = why_not if up or reasons else "no connection"
    state = lifecycle.state
    ready = state is State.READY and up
    text = (
        _line("listening", "" if state is State.READY else state.value)
        + _line("upstream", why_not)
        + f"readyz check {'passed' if ready else 'failed'}\n"
    )
    return ready, text


def _line(check: str, why_not: str) -> str:
    return f"[-]{check} failed: {why_not}\n" if why_not else f"[+]{check} ok\n"


class DataPortHealth:
    """Answers the health checks of the data port, `relay.plane.Health`."""

    def __init__(self, lifecycle: Lifecycle, upstream: UpstreamCheck) -> None:
        self._lifecycle = lifecycle
        self._upstream = upstream
        self._running: set[asyncio.Task[None]] = set()

    def __call__(self, path: bytes, answer: Callable[[int, bytes], None]) -> None:
        """Call `answer` with status and body, now or when the upstream was looked at."""
        if path == b"/livez":
            answer(200, b"ok\n")
            return
        task = asyncio.ensure_future(self._answer_readiness(answer))
        self._running.add(task)  # the loop itself would not keep it
        task.add_done_callback(self._running.discard)

    async def _answer_readiness(self, answer: Callable[[int, bytes], None]) -> None:
        ready, text = await readiness(self._lifecycle, self._upstream, reasons=False)
        answer(*((200, b"ok\n") if ready else (503, text.encode())))
