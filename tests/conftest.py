"""What holds for all tests: no property has a stopwatch, on however busy a machine."""

import os

from hypothesis import settings

settings.register_profile("unhurried", settings.get_profile("ci" if "CI" in os.environ else "default"), deadline=None)
settings.load_profile("unhurried")
