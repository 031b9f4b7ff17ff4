"""Whether the relay is compiled here (`make compiled`)."""

import pytest

from unbuffer.compiled import COMPILED

replaces = pytest.mark.skipif(COMPILED, reason="replaces a part of what is compiled")
"""For tests that put something of their own into the relay's code."""
