"""OpenTelemetry where it is asked for: an extra that may not be installed, and is not loaded before."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from unbuffer.observe.family import Snapshot
from unbuffer.observe.request_durations import RequestDurations
from unbuffer.server.errors import EX_UNAVAILABLE, StartError
from unbuffer.settings.model import Settings
from unbuffer.settings.problems import Problem, SettingsError

if TYPE_CHECKING:
    from unbuffer.observe.push import Push
    from unbuffer.observe.spans import Spans

"""Exit code where something is not installed (sysexits.h)."""


def spans_to(settings: Settings) -> "Spans | None":
    """What sends spans where tracing.otlp says; None for `off`. Raises StartError where OpenTelemetry is not installed,
    and SettingsError for its variables."""
    if settings.tracing.otlp == "off":
        return None
    with _asked_for_by("tracing.otlp"):
        from unbuffer.observe.spans import Spans

        return Spans.to(settings.tracing.otlp, _scheme(settings))


def durations_for(settings: Settings) -> RequestDurations | None:
    """Where the durations of requests are counted, if they are pushed somewhere."""
    return None if settings.metrics.otlp == "off" else RequestDurations()


def push_to(
    settings: Settings, snapshot: Callable[[], Awaitable[Snapshot]], durations: RequestDurations | None
) -> "Push | None":
    """What pushes metrics where metrics.otlp says; None for `off`, without durations. Raises as `spans_to` does."""
    if durations is None:
        return None
    with _asked_for_by("metrics.otlp"):
        from unbuffer.observe.push import Push

        own = settings.metrics
        return Push.to(own.otlp, snapshot, durations, _scheme(settings), own.otlp_interval, own.otlp_temporality)


def _scheme(settings: Settings) -> str:
    return "https" if settings.listen.tls.certificate else "http"


@contextmanager
def _asked_for_by(setting: str) -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        text = f"{setting} needs OpenTelemetry, but {error.name} is not installed: in a clone, pip install '.[otel]'"
        raise StartError(text, EX_UNAVAILABLE) from None
    except ValueError as error:  # OpenTelemetry reads its variables, some of them when it is imported
        raise SettingsError([Problem(f"variables OTEL_... ({setting})", str(error))]) from None
