"""Who sends spans and metrics, as OpenTelemetry wants to know it."""

import uuid
from urllib.parse import urlsplit

from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, Resource

from unbuffer import __version__

_INSTANCE = str(uuid.uuid4())


def endpoint(where: str, path: str) -> str | None:
    """What an exporter is told: the URL, with this path where it has none; None for `env`, so that it looks itself."""
    if where == "env":
        return None
    return where.rstrip("/") + path if urlsplit(where).path in ("", "/") else where


def resource() -> Resource:
    """This process. OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME come first."""
    found = Resource.create()
    ours: dict[str, str] = {}
    named = found.attributes[SERVICE_NAME]
    if isinstance(named, str) and named.startswith("unknown_service"):
        ours |= {SERVICE_NAME: "unbuffer", "service.version": __version__}
    if SERVICE_INSTANCE_ID not in found.attributes:
        # Two instances without one would write into the same time series.
        ours[SERVICE_INSTANCE_ID] = _INSTANCE
    return found.merge(Resource(ours))
