"""An application that says who its client is, as each server needs it on a Unix socket."""

from fastapi import FastAPI, Request
from granian.utils.proxies import wrap_asgi_with_proxy_headers
from hypercorn.middleware import ProxyFixMiddleware
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

app = FastAPI(openapi_url=None)


@app.get("/client")
def client(request: Request) -> list[str | None]:
    """The client's address, and the scheme that it came with."""
    return [request.client.host if request.client else None, request.url.scheme]


for_granian = wrap_asgi_with_proxy_headers(app, trusted_hosts="*")
for_hypercorn = ProxyFixMiddleware(app, mode="legacy", trusted_hops=1)  # type: ignore[arg-type]
for_gunicorn = ProxyHeadersMiddleware(app, trusted_hosts="*")  # type: ignore[arg-type]
