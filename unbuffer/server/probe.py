"""Whether the upstream takes connections, for readiness. Opens one and closes it: no request, no word to the relay."""

import asyncio
import os
import socket
import time

from unbuffer.settings.addresses import UpstreamTarget

FRESH = 1.0
"""Seconds for which a result is given again: however often the probes come, the upstream sees one a second."""


class UpstreamProbe:
    """Checks of one upstream."""

    def __init__(self, target: UpstreamTarget, timeout: float) -> None:
        """timeout: seconds for one attempt, as timeouts.connect says; 0 = as long as the system tries."""
        self._target = target
        self._timeout = timeout
        self._one_at_a_time = asyncio.Lock()
        self._why_not = ""
        self._checked_at = float("-inf")

    def retarget(self, target: UpstreamTarget, timeout: float) -> None:
        """Check another upstream from now on."""
        self._target = target
        self._timeout = timeout
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
        """Connect once; what is wrong, or nothing."""
        where = self._target.authority
        try:
            async with asyncio.timeout(self._timeout or None):
                await self._connect()
        except socket.gaierror as error:
            return f"cannot resolve {where}: {error.strerror}"
        except OSError as error:
            # The event loops word an error differently, its number is the same. Our own deadline has none, nor has a
            # host of which every address failed in its own way.
            if isinstance(error, TimeoutError) and not error.errno:
                return f"no connection to {where} within timeouts.connect ({self._timeout:g}s)"
            return f"cannot connect to {where}: {os.strerror(error.errno) if error.errno else error}"
        return ""

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        target = self._target
        if target.path:
            transport, _ = await loop.create_unix_connection(asyncio.Protocol, target.path)
        else:
            transport, _ = await loop.create_connection(asyncio.Protocol, target.host, target.port)
        transport.close()
