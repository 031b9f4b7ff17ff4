"""What `unbuffer serve` imports, and what it is spared."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import trustme

LOADED = """
import gc, json, os, ssl, sys
before = dict(os.environ)
import {module}
contexts = [context.cert_store_stats()["x509"] for context in gc.get_objects() if isinstance(context, ssl.SSLContext)]
print(json.dumps({{
    "contexts": contexts,
    "library": "frozenlist._frozenlist" in sys.modules,
    "environment": dict(os.environ) == before,
    "later": ssl.create_default_context().cert_store_stats()["x509"],
}}))
"""


class Loaded(msgspec.Struct):
    """contexts: the authorities in each TLS context that an import made. library: whether frozenlist is compiled.
    environment: whether it is as before. later: the authorities of a context made then."""

    contexts: list[int]
    library: bool
    environment: bool
    later: int


@pytest.mark.process
@pytest.mark.parametrize("set_by_user", [True, False])
def test_the_client_of_aiohttp_is_not_made_ready(tmp_path: Path, set_by_user: bool) -> None:
    authorities = tmp_path / "authorities.pem"
    authorities.write_bytes(trustme.CA().cert_pem.bytes())
    environment = {name: value for name, value in os.environ.items() if name not in ("SSL_CERT_FILE", "SSL_CERT_DIR")}
    if set_by_user:
        environment["SSL_CERT_FILE"] = str(authorities)

    def loaded(module: str) -> Loaded:
        command = [sys.executable, "-c", LOADED.format(module=module)]
        return msgspec.json.decode(subprocess.check_output(command, env=environment), type=Loaded)

    worker, plain = loaded("unbuffer.server.process"), loaded("aiohttp.web")

    assert not any(worker.contexts)
    assert not worker.library
    assert worker.environment
    assert worker.later == plain.later
    if set_by_user:
        assert (worker.later, max(plain.contexts)) == (1, 1), "there is nothing to spare any more"
