"""`unbuffer demo`, where the packages are that it needs besides those of a proxy."""

import importlib.util
import sys

from unbuffer.server.errors import EX_UNAVAILABLE

NEEDED = ("aiohttp", "fastapi", "sse_starlette", "uvicorn", "websockets")


def demo(once: bool) -> int:
    """Show it. Returns the exit code: that of `show.main`; 69 when packages are missing, which standard error names."""
    if missing := [name.replace("_", "-") for name in NEEDED if importlib.util.find_spec(name) is None]:
        cure = "in a clone, pip install '.[demo]', or uvx --from '.[demo]' unbuffer demo"
        print(f"unbuffer demo needs more packages ({', '.join(missing)}): {cure}", file=sys.stderr)
        return EX_UNAVAILABLE
    from unbuffer.demo.show import main

    return main(once)
