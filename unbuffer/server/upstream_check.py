"""Whether the upstream takes connections, for readiness. Opens one and closes it: no request, no word to the relay."""

import asyncio
import time

from unbuffer.relay.dial import ConnectError, Dialer

FRESH = 1.0
"""Seconds for which a result is given again: however often the probes come, the upstream sees one a second."""


class UpstreamCheck:
    """Checks of one upstream."""

    def __init__(self, dialer: Dialer) -> None:
        self._one_at_a_time = asyncio.Lock()
        self.retarget(dialer)

    def retarget(self, dialer: Dialer) -> None:
        """Check another upstream from now on."""
        self._dialer = dialer
        self._why_not = ""
        self._checked_at = float("-inf")

    async def check(self) -> tuple[bool, str]:
        """Whether a connection can be opened, and if not, why. At most `FRESH` seconds old.

        Who asks while an attempt runs waits for it and takes its result.
        """
        async with self._one_at_a_time:
            if time.monotonic() - self._checked_at > FRESH:
                self._why_not = await self._attempt()
                self._checked_at = time.monotonic()
            return not self._why_not, self._why_not

    async def _attempt(self) -> str:
        """Connect once, without a TLS handshake; what is wrong, or nothing."""
        try:
            await self._dialer.open(_Hello, handshake=False)
        except ConnectError as error:
            return error.detail
        return ""


class _Hello(asyncio.Protocol):
    """Knocks, and goes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
