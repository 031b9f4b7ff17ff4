"""OpenTelemetry where it is asked for: an extra that may not be installed, and is not loaded before."""

from typing import TYPE_CHECKING

from unbuffer.server.errors import StartError
from unbuffer.settings.problems import Problem, SettingsError

if TYPE_CHECKING:
    from unbuffer.observe.spans import Spans

EX_UNAVAILABLE = 69
"""Exit code where something is not installed (sysexits.h)."""


def spans_to(url: str) -> "Spans | None":
    """What sends spans there; None for `off`. Raises StartError where it is not installed, and SettingsError for its
    variables."""
    if url == "off":
        return None
    try:
        from unbuffer.observe.spans import Spans

        return Spans.to(url)
    except ModuleNotFoundError as error:
        text = f"tracing.otlp needs OpenTelemetry, but {error.name} is not installed: in a clone, pip install '.[otel]'"
        raise StartError(text, EX_UNAVAILABLE) from None
    except ValueError as error:  # OpenTelemetry reads its variables, some of them when it is imported
        raise SettingsError([Problem("variables OTEL_... (tracing.otlp)", str(error))]) from None
