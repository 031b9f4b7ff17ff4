"""The demo's two HTML pages: the list of its paths, and one that shows a text/plain stream as the browser gets it."""

from html import escape

# Method, path, and what is to be seen there.
PATHS = (
    ("GET", "/text", "text/plain from a synchronous generator with a blocking sleep"),
    ("POST", "/text", "the same, asked for by POST with query parameters (prompt, delay)"),
    ("GET", "/async", "an asynchronous generator without a media type"),
    ("GET", "/sse", "server-sent events with sse-starlette, nothing wrong"),
    ("POST", "/v1/chat/completions", "OpenAI-compatible, whole or streamed, without X-Accel-Buffering"),
    ("GET", "/blocking", "a blocking call inside an asynchronous generator: it stops all other streams"),
    ("GET", "/gzip/text", "/text behind a middleware that compresses and holds its output"),
    ("POST", "/gzip/text", "the same by POST"),
    ("GET", "/gzip/async", "/async behind that middleware"),
    ("GET", "/gzip/sse", "/sse behind that middleware"),
    ("POST", "/gzip/v1/chat/completions", "/v1/chat/completions behind that middleware"),
    ("GET", "/always-gzip/text", "/text compressed for everybody, flushed after each chunk"),
    ("POST", "/always-gzip/text", "the same by POST"),
    ("GET", "/always-gzip/async", "/async compressed in that way"),
    ("GET", "/always-gzip/sse", "/sse compressed in that way"),
    ("POST", "/always-gzip/v1/chat/completions", "/v1/chat/completions compressed in that way"),
    ("WS", "/ws", "a WebSocket: each message is answered token by token"),
    ("POST", "/upload", "an upload, read as it comes: its bytes, its SHA-256, the number of reads"),
    ("GET", "/watch", "a page that shows /text with the time of each piece"),
    ("GET", "/", "this list"),
)


def index() -> str:
    """The start page: every path in one line."""
    lines = "\n".join(_line(*entry) for entry in PATHS)
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>unbuffer demo</title>
<h1>unbuffer demo</h1>
<p>Each path shows one way to stream. <code>?delay=0.5</code> sets the seconds before each token.</p>
<ul>
{lines}
</ul>
</html>
"""


def _line(method: str, path: str, text: str) -> str:
    label = f'<a href="{path}">{path}</a>' if method == "GET" else path
    return f"<li><code>{method} {label}</code> {escape(text)}</li>"


# XMLHttpRequest and not fetch(): Chromium holds the first 1,024 bytes of text/plain back from the former only.
WATCH = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>unbuffer demo: text/plain</title>
<h1>/text, as this browser gets it</h1>
<p>Seconds since the request, and the text that came. One line at the end means that somebody held it.</p>
<pre id="log"></pre>
<script>
const log = document.getElementById("log");
const request = new XMLHttpRequest();
const start = performance.now();
let seen = 0;
request.onprogress = () => {
  const text = request.responseText.slice(seen);
  seen += text.length;
  log.textContent += `${((performance.now() - start) / 1000).toFixed(2).padStart(6)}  ${text}\\n`;
};
request.open("GET", "/text");
request.send();
</script>
</html>
"""
