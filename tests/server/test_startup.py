"""What a process that serves does not load: a sidecar's memory is paid for once for each pod."""

import subprocess
import sys


def test_what_is_needed_now_and_then_is_loaded_then() -> None:
    code = "import sys, unbuffer.cli, unbuffer.server.process, unbuffer.settings.load; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "unbuffer.server.pages" in loaded
    # A settings file, a child process, traces, the demo, HTTP/2, resumable streams; and servers and clients of others.
    assert not {"yaml", "ctypes", "opentelemetry", "fastapi", "h2", "unbuffer.resume.registry", "redis"} & set(loaded)
    assert not {"http", "email", "urllib.request", "aiohttp", "prometheus_client"} & set(loaded)
