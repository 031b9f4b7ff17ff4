"""A server of the Model Context Protocol whose one tool counts as far as its gate lets it."""

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.server.transport_security import TransportSecuritySettings
from mcp.types import JSONRPCMessage

from tests.e2e.app import app as gated
from tests.e2e.app import gates

server = MCPServer("counting")


@server.tool()
async def count(gate: str, context: Context) -> str:
    """Report each number as progress."""
    last = 0
    async for number in gates[gate].numbers():
        last = number
        await context.report_progress(number)
    return f"counted to {last}"


class Memory(EventStore):
    """All that was sent. The id of an event is its place."""

    def __init__(self) -> None:
        self._sent: list[tuple[str, JSONRPCMessage | None]] = []

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        self._sent.append((stream_id, message))
        return str(len(self._sent) - 1)

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str:
        last = int(last_event_id)
        stream_id, _ = self._sent[last]
        for place, (stream, message) in enumerate(self._sent):
            if place > last and stream == stream_id and message is not None:
                await send_callback(EventMessage(message, str(place)))
        return stream_id


app = server.streamable_http_app(
    event_store=Memory(),
    retry_interval=100,
    # It would refuse every Host but its own, and here it is that of a load balancer.
    transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
)
app.mount("/", gated)
