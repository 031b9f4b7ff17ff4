"""The clock of all that is measured and waited for."""

import time
from typing import Final

monotonic: Final = time.monotonic
"""Seconds that never go back. Compiled, a constant costs no look-up by name."""
