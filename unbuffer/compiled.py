"""Whether the relay runs compiled: the same sources, made into C by mypyc when the package was built."""

from typing import Final

from unbuffer import record

COMPILED: Final = not str(record.__file__).endswith(".py")

YES_OR_NO: Final = "yes" if COMPILED else "no"
"""As it is shown: by `unbuffer --version`, where a start names the upstream, as a label of unbuffer_build_info."""
