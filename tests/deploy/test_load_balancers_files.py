"""The pages of deploy/load-balancers/, and the files that no program here can run: parsed, given to what checkers there
are, and held to one another."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from pycep import BicepParser

from tests.deploy.balancers import SHIPPED
from tests.programs import installed
from unbuffer.settings.load import load

NAMES = sorted(path.name for path in SHIPPED.iterdir() if path.is_dir())

STREAM = 3600
"""Seconds of the longest stream: what everything that drains has to give it."""

SILENCE = 600
"""Seconds of the longest silence of a stream."""


def parsed(file: str) -> Any:
    """One document of YAML."""
    (document,) = documents(file)
    return document


def documents(file: str) -> list[Any]:
    """All of them. AWS' own tags stay what they are applied to."""

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("!", lambda loader, _, node: loader.construct_scalar(node))
    return list(yaml.load_all((SHIPPED / file).read_text(), Loader))


def test_the_table_has_every_load_balancer() -> None:
    rows = re.findall(r"^\| \[[^]]+\]\(([^)]+)/\)", (SHIPPED / "README.md").read_text(), re.MULTILINE)

    assert sorted(rows) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_page_says_what_matters_and_what_was_tested(name: str) -> None:
    text = (SHIPPED / name / "README.md").read_text()

    assert text.startswith("# ")
    assert "\n\nBy default " in text
    for heading in ("What matters", "Timeouts and heartbeat", "Health, drain, bodies", "See that it works"):
        assert f"\n## {heading}\n" in text
    assert "curl -N " in text
    assert "`sse.heartbeat`" in text
    assert re.search(r"^Tested with .+ on \d+ \w+ 2\d{3}\b|^Not tested\b", text, re.MULTILINE)
    assert re.search(r"Vendor's pages?\b.*\(https://", text, re.DOTALL)
    assert len(text.splitlines()) <= 50


def test_the_side_of_unbuffer_is_right_and_drains_for_as_long_as_the_longest_stream() -> None:
    settings = load(str(SHIPPED / "unbuffer.yaml"), {}, {})

    assert settings.drain.timeout == STREAM
    assert settings.listen.address == ("0.0.0.0:8080",)
    assert settings.admin.address == "0.0.0.0:4198"


@pytest.mark.parametrize(
    ("file", "drain"),
    [
        ("nginx/nginx.conf", "worker_shutdown_timeout 1h;"),
        ("haproxy/haproxy.cfg", "hard-stop-after 1h"),
        ("envoy/envoy.yaml", "--drain-time-s 3600 --parent-shutdown-time-s 3660"),
        ("caddy/Caddyfile", "grace_period 1h"),
        ("apache/httpd.conf", "GracefulShutdownTimeout 3600"),
        ("traefik/traefik.yaml", "graceTimeOut: 1h"),
        ("cloudflare/config.yml", "grace-period: 1h"),
    ],
)
def test_a_reload_leaves_the_longest_stream_alone(file: str, drain: str) -> None:
    assert drain in (SHIPPED / file).read_text()


def test_traefik_has_what_no_run_of_it_shows() -> None:
    """Bodies with a length that come slowly, heads that come late, and the health of the streams' service."""
    http = parsed("traefik/routes.yaml")["http"]

    for name, service in http["services"].items():
        balancer = service["loadBalancer"]
        assert balancer["healthCheck"] == {"path": "/readyz", "port": 4198, "interval": "5s", "timeout": "2s"}
        assert http["serversTransports"][balancer["serversTransport"]]["forwardingTimeouts"]["idleConnTimeout"] == "60s"
        assert balancer["serversTransport"] == name
    assert http["services"]["streams"]["loadBalancer"]["responseForwarding"] == {"flushInterval": "-1ms"}
    assert http["serversTransports"]["streams"]["forwardingTimeouts"]["responseHeaderTimeout"] == "0s"


@pytest.mark.process
def test_cfn_lint_finds_nothing_wrong_with_the_template() -> None:
    file = SHIPPED / "aws-alb" / "load-balancer.yaml"
    result = subprocess.run([installed("cfn-lint"), str(file)], capture_output=True, text=True, check=False)

    assert (result.returncode, result.stdout) == (0, "")


def attributes(resource: Any, kind: str) -> dict[str, str]:
    """Of a load balancer or a target group."""
    return {each["Key"]: each["Value"] for each in resource["Properties"][kind]}


def test_the_alb_keeps_silent_and_drained_streams() -> None:
    resources = parsed("aws-alb/load-balancer.yaml")["Resources"]
    balancer = attributes(resources["LoadBalancer"], "LoadBalancerAttributes")

    assert balancer["idle_timeout.timeout_seconds"] == str(SILENCE)
    assert balancer["routing.http2.enabled"] == "true"
    (condition,) = resources["StreamsRule"]["Properties"]["Conditions"]
    assert condition["PathPatternConfig"]["Values"] == ["/stream/*", "/ws/*"]
    for group, drain in (("Streams", STREAM), ("Rest", 60)):
        properties = resources[group]["Properties"]
        assert (properties["ProtocolVersion"], properties["Port"]) == ("HTTP1", 8080)
        assert (properties["HealthCheckPort"], properties["HealthCheckPath"]) == ("4198", "/readyz")
        delay = attributes(resources[group], "TargetGroupAttributes")["deregistration_delay.timeout_seconds"]
        assert delay == str(drain)
    opened = {resources[name]["Properties"]["FromPort"] for name in ("Traffic", "Health")}
    assert opened == {8080, 4198}


def test_google_gives_streams_their_time_and_asks_at_the_admin_port() -> None:
    kinds: dict[str, dict[str, Any]] = {}
    for document in documents("gcp/gateway.yaml"):
        kinds.setdefault(document["kind"], {})[document["metadata"]["name"]] = document["spec"]
    streams, rest = kinds["HTTPRoute"]["app"]["rules"]

    assert [match["path"]["value"] for match in streams["matches"]] == ["/stream/", "/ws/"]
    assert "matches" not in rest
    assert kinds["HTTPRoute"]["app"]["parentRefs"] == [{"name": name} for name in kinds["Gateway"]]
    for rule, timeout in ((streams, STREAM), (rest, 60)):
        ((service, port),) = ((each["name"], each["port"]) for each in rule["backendRefs"])
        (exposed,) = kinds["Service"][service]["ports"]
        assert (exposed["port"], exposed["targetPort"]) == (port, 8080)
        assert kinds["Service"][service]["selector"] == kinds["Service"]["streams"]["selector"]
        policy, health = kinds["GCPBackendPolicy"][service], kinds["HealthCheckPolicy"][service]
        assert policy["targetRef"] == health["targetRef"] == {"group": "", "kind": "Service", "name": service}
        assert policy["default"]["timeoutSec"] == timeout
        assert policy["default"]["connectionDraining"] == {"drainingTimeoutSec": timeout}
        check = health["default"]["config"]["httpHealthCheck"]
        assert (check["port"], check["requestPath"]) == (4198, "/readyz")


def bicep(file: Path) -> Any:
    """The resources of a Bicep file by their symbolic names."""
    return BicepParser().parse(file_path=file)["resources"]


def named(properties: Any) -> dict[str, Any]:
    """A collection of an application gateway by name."""
    return {each["name"]: each["properties"] for each in properties}


def test_the_application_gateway_collects_nothing_and_waits_long_enough() -> None:
    gateway = bicep(SHIPPED / "azure-application-gateway" / "gateway.bicep")["gateway"]["config"]["properties"]

    assert gateway["globalConfiguration"] == {"enableResponseBuffering": False, "enableRequestBuffering": False}
    assert gateway["enableHttp2"] is True
    probe = named(gateway["probes"])["ready"]
    assert (probe["port"], probe["path"]) == (4198, "/readyz")
    settings = named(gateway["backendHttpSettingsCollection"])
    assert settings["streams"]["requestTimeout"] == SILENCE
    assert settings["streams"]["connectionDraining"] == {"enabled": True, "drainTimeoutInSec": STREAM}
    assert {each["port"] for each in settings.values()} == {8080}
    (path_map,) = named(gateway["urlPathMaps"]).values()
    (rule,) = named(path_map["pathRules"]).values()
    assert rule["paths"] == ["/stream/*", "/ws/*"]


def test_the_application_gateway_refers_only_to_what_it_has() -> None:
    text = (SHIPPED / "azure-application-gateway" / "gateway.bicep").read_text()
    gateway = bicep(SHIPPED / "azure-application-gateway" / "gateway.bicep")["gateway"]["config"]["properties"]
    references = re.findall(r"'\$\{gatewayId\}/(\w+)/([\w-]+)'", text)

    assert len(references) == text.count("${gatewayId}")
    for collection, name in references:
        assert name in named(gateway[collection])


def test_a_tunnel_ends_at_the_unbuffer_beside_it() -> None:
    tunnel = parsed("cloudflare/config.yml")

    assert tunnel["ingress"] == [
        {"hostname": "app.example.com", "service": "http://127.0.0.1:8080"},
        {"service": "http_status:404"},
    ]
    assert tunnel["originRequest"]["http2Origin"] is False
    assert str(tunnel["tunnel"]) in tunnel["credentials-file"]
