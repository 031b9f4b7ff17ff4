"""The signals that end the process, or have it read its settings again."""

import asyncio
import signal
import sys
from dataclasses import dataclass, field

from unbuffer.server.lifecycle import Lifecycle


@dataclass(slots=True)
class Signals:
    """SIGTERM and SIGINT: the first one drains, a second one ends at once. SIGHUP reloads.

    A drain that `unbuffer drain` has begun goes on at the first signal: Kubernetes sends it after every preStop hook.
    """

    lifecycle: Lifecycle
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    hangup: asyncio.Event = field(default_factory=asyncio.Event)
    code: int = 0
    first: bool = True

    def received(self, number: int) -> None:
        """Note one signal that ends."""
        if not self.first:
            self.code = 128 + number
            self.hurry.set()
        self.first = False
        self.lifecycle.drain()

    @classmethod
    def install(cls, loop: asyncio.AbstractEventLoop, lifecycle: Lifecycle) -> "Signals":
        """Handle the signals from now on."""
        signals = cls(lifecycle)
        if sys.platform != "win32":
            loop.add_signal_handler(signal.SIGHUP, signals.hangup.set)
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                loop.add_signal_handler(number, signals.received, number)
            except NotImplementedError:  # Windows
                signal.signal(number, lambda n, _: loop.call_soon_threadsafe(signals.received, n))
        return signals
