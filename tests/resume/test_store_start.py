"""A store that will never do is an error at the start, and says why; one that may yet come is a warning."""

import re
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.resume.servers import KeyServer
from unbuffer.resume.shared_store import SharedStore
from unbuffer.resume.store import StoreError
from unbuffer.settings.resume import Resume, ResumeStore
from unbuffer.totals import Totals

DOCUMENT = Path(__file__).parents[2] / "docs" / "resume.md"


async def started(**settings: Any) -> Totals:
    """The totals of a store with these settings that was started and closed. Raises StoreError."""
    totals = Totals()
    store = SharedStore(Resume(window=60.0, store=ResumeStore(**settings)), totals)
    try:
        await store.start()
    finally:
        await store.close()
    return totals


async def test_a_wrong_password_is_an_error(server: KeyServer) -> None:
    server.redis.config_set("requirepass", "right")
    try:
        with pytest.raises(StoreError, match=r"user or password is wrong: look at resume\.store\.user"):
            await started(url=server.url, password="wrong")
        with pytest.raises(StoreError, match=r"asks for a password: set resume\.store\.password_file"):
            await started(url=server.url)
        assert not sum((await started(url=server.url, password="right")).resume_store_errors.values())
    finally:
        server.redis.config_set("requirepass", "")


async def test_the_user_of_the_document_may_do_all_that_is_needed(server: KeyServer, tmp_path: Path) -> None:
    found = re.search(r"^user unbuffer on >PASSWORD (.*)$", DOCUMENT.read_text(), re.MULTILINE)
    assert found is not None
    (tmp_path / "password").write_text("secret\n")
    login = {"url": server.url, "user": "unbuffer", "password_file": str(tmp_path / "password")}
    server.redis.execute_command("ACL", "SETUSER", "unbuffer", "reset", "on", ">secret", *found[1].split())
    assert not sum((await started(**login)).resume_store_errors.values())
    server.redis.execute_command("ACL", "SETUSER", "unbuffer", "-xadd")
    with pytest.raises(StoreError, match="may not do all that is needed"):
        await started(**login)
    server.redis.execute_command("ACL", "SETUSER", "unbuffer", "+xadd", "resetkeys", "~other:*")
    with pytest.raises(StoreError, match="may not do all that is needed"):
        await started(**login)


async def test_a_server_that_is_not_there_is_a_warning(caplog: pytest.LogCaptureFixture, closed_port: int) -> None:
    totals = await started(url=f"redis://127.0.0.1:{closed_port}")
    assert totals.resume_store_errors["unreachable"]
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "unreachable" in line
    assert "streams go on" in line


async def test_tls_with_an_authority_of_ones_own(tmp_path: Path, closed_port: int) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(tmp_path / "cert.pem")
    files = ("--tls-cert-file", "cert.pem", "--tls-key-file", "cert.pem", "--tls-ca-cert-file", "ca.pem")
    server = KeyServer("redis", tmp_path, "--tls-port", str(closed_port), *files, "--tls-auth-clients", "no")
    try:
        server.start()
        url = f"rediss://localhost:{closed_port}"
        assert not sum((await started(url=url, ca=str(tmp_path / "ca.pem"))).resume_store_errors.values())
        with pytest.raises(StoreError, match=r"not trusted: look at resume\.store\.ca"):
            await started(url=url)
    finally:
        server.kill()
