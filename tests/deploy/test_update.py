"""A new unbuffer takes the place of an old one, as in a rolling update that changes the sidecar alone: nobody notices.

HAProxy stands for the Service: it takes a pod in when `/readyz` says yes, and out when it says no.
"""

import asyncio
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from signal import SIGTERM

import pytest
import trustme

from tests.deploy.balancers import Front, Instances, hosts, instance, running_balancer, two_free_ports
from tests.deploy.test_load_balancers import ASKING, Load
from tests.e2e.stack import uvicorn
from tests.peers import PATIENCE, eventually

pytestmark = pytest.mark.process

NEW = ("--set", "server_timing=true")
"""Responses of the new one say so."""


def is_new(front: Front) -> bool:
    with front.client() as client:
        return "server-timing" in client.get("/plain/1").raise_for_status().headers


async def test_a_rolling_update_of_the_sidecar_fails_no_request_and_cuts_no_stream(tmp_path: Path) -> None:
    authority = trustme.CA()
    first, second = hosts(2)
    port, admin = two_free_ports(first)
    patient = ("--set", "drain.delay=1s", "--set", "drain.timeout=1h")
    with (
        uvicorn() as app,
        instance(app, first, port, admin, *patient) as old,
        running_balancer(
            "haproxy", authority, Instances((first, second), port, admin), tmp_path, ASKING["haproxy"]
        ) as front,
        front.client() as client,
    ):
        # The second address has nobody yet: a pod that is still to come.
        await eventually(lambda: all(not is_new(front) for _ in range(4)))
        gate = app.gate()
        with (
            ExitStack() as new,
            client.stream("GET", gate.path("text")) as response,
            Load(front).running() as load,
        ):
            body = response.iter_raw()
            assert next(body) == b"event 0\n"
            new.enter_context(instance(app, second, port, admin, *patient, *NEW))
            await eventually(lambda: is_new(front))
            load.more(3)

            # The preStop hook of the old pod, and the SIGTERM that follows it.
            hook = [sys.executable, "-m", "unbuffer", "drain", "--admin", old.admin.removeprefix("http://")]
            await asyncio.to_thread(subprocess.run, hook, check=True, capture_output=True, timeout=PATIENCE)
            old.process.err.match("draining: running streams")
            old.process.signal(SIGTERM)
            assert all(is_new(front) for _ in range(4))
            load.more(3)
            for number in (1, 2):
                gate.next()
                assert next(body) == b"event %d\n" % number
            gate.end()
            assert b"".join(body) == b""
            assert old.process.exit_code() == 0
            load.more(3)
            assert load.failures == []
    lines = old.process.out.all()
    assert [line for line in lines if f'"url.path":"{gate.path("text")}"' in line]
    assert not [line for line in lines if '"unbuffer.outcome":"completed"' not in line]
