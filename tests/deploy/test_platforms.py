"""Cloud Run and App Engine flexible, whose schemas nothing has offline: what their pages ask for, as assertions."""

import json
import re
from typing import Any

import yaml

from tests.deploy.containers import ROOT
from unbuffer.settings.load import load
from unbuffer.settings.model import Settings

CLOUD_RUN = ROOT / "deploy" / "cloud-run" / "service.yaml"
APP_ENGINE = ROOT / "deploy" / "app-engine-flex"

# What the image of deploy/container sets; the platform's PORT is the same.
IMAGE = {"PORT": "8080", "UNBUFFER_ADMIN": ":4198"}


def service() -> tuple[dict[str, Any], dict[str, dict[str, Any]], Settings]:
    """The template, its containers by name, and what unbuffer makes of its environment."""
    document = yaml.safe_load(CLOUD_RUN.read_text())
    assert (document["apiVersion"], document["kind"]) == ("serving.knative.dev/v1", "Service")
    template: dict[str, Any] = document["spec"]["template"]
    containers = {container["name"]: container for container in template["spec"]["containers"]}
    variables = {variable["name"]: variable["value"] for variable in containers["unbuffer"]["env"]}
    return template, containers, load(None, IMAGE | variables, {})


def test_unbuffer_is_the_ingress_container_and_listens_on_its_port() -> None:
    _, containers, settings = service()
    assert [name for name, container in containers.items() if "ports" in container] == ["unbuffer"]
    (port,) = containers["unbuffer"]["ports"]
    assert settings.listen.address == (f":{port['containerPort']}",), "PORT is the platform's"
    # What the runtime contract of Knative allows; the page says when it may be the other one.
    assert port["name"] == "http1"
    assert f"{{name: h2c, containerPort: {port['containerPort']}}}" in CLOUD_RUN.with_name("README.md").read_text()
    assert settings.listen.http2
    assert "dependsOn" not in CLOUD_RUN.read_text(), "Terraform's word does nothing here"


def test_unbuffer_waits_for_the_application() -> None:
    template, containers, settings = service()
    needs = json.loads(template["metadata"]["annotations"]["run.googleapis.com/container-dependencies"])
    assert needs == {"unbuffer": ["app"]}
    port = containers["app"]["startupProbe"]["tcpSocket"]["port"]
    command = containers["app"]["command"]
    assert settings.upstream.url == f"http://{command[command.index('--host') + 1]}:{port}"
    assert command[command.index("--port") + 1] == str(port)


def test_the_probes_ask_what_the_port_of_the_data_answers() -> None:
    _, containers, settings = service()
    assert settings.listen.health
    assert containers["unbuffer"]["startupProbe"]["httpGet"] == {"path": "/readyz"}
    assert containers["unbuffer"]["livenessProbe"]["httpGet"] == {"path": "/livez"}
    for container in containers.values():
        probe = container["startupProbe"]
        # "Configure container health checks": ten minutes in all, and each no longer than its period.
        assert probe["periodSeconds"] * probe["failureThreshold"] <= 600
        assert probe["timeoutSeconds"] <= probe["periodSeconds"]


def test_a_stream_may_last_and_ends_in_time() -> None:
    template, _, settings = service()
    assert template["spec"]["timeoutSeconds"] == 3600
    assert 80 < template["spec"]["containerConcurrency"] <= 1000
    assert template["metadata"]["annotations"]["run.googleapis.com/cpu-throttling"] == "false"
    assert settings.drain.delay + settings.drain.timeout < 10


def test_app_engine_asks_the_port_of_the_data_for_health() -> None:
    app = yaml.safe_load((APP_ENGINE / "app.yaml").read_text())
    assert (app["runtime"], app["env"]) == ("custom", "flex")
    settings = load(None, IMAGE | app["env_variables"], {})
    assert settings.listen.health
    assert settings.listen.address == (":8080",)
    assert app["liveness_check"]["path"] == "/livez"
    assert app["readiness_check"]["path"] == "/readyz"
    assert settings.drain.delay + settings.drain.timeout + settings.exec.grace < 30


def test_every_file_names_the_same_version() -> None:
    """That of the release to come, or of the last one: RELEASING.md."""
    files = [
        path for path in (ROOT / "deploy").rglob("*") if path.is_file() and path.suffix not in (".json", ".pyc", ".txt")
    ]
    named = {path: re.findall(r"(?:\bunbuffer:|newTag: )([0-9]+\.[0-9]+\.[0-9]+)", path.read_text()) for path in files}
    assert len({version for versions in named.values() for version in versions}) == 1


def test_the_page_on_app_engine_standard_leads_to_what_is_there() -> None:
    page = ROOT / "docs" / "app-engine-standard.md"
    links = re.findall(r"\]\((\.\./[^)]*)\)", page.read_text())
    assert len(links) >= 3
    for link in links:
        assert (page.parent / link).is_dir()
