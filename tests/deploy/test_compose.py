"""The compose files: as the specification has them, with files that exist and ports that something listens on."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.containers import ROOT
from tests.programs import installed
from unbuffer.settings.load import load
from unbuffer.settings.model import Settings
from unbuffer.settings.store_url import parse_store
from unbuffer.settings.values import parse_duration

FOLDER = ROOT / "deploy" / "compose"
IN_FRONT, SIDECAR, REPLICAS = "compose.yaml", "compose.sidecar.yaml", "compose.replicas.yaml"

Service = dict[str, Any]

each_file = pytest.mark.parametrize("name", [IN_FRONT, SIDECAR, REPLICAS])


def services(name: str) -> dict[str, Service]:
    found: dict[str, Service] = yaml.safe_load((FOLDER / name).read_text())["services"]
    return found


def settings(service: Service) -> Settings:
    """What unbuffer makes of the image's environment and the service's. Raises SettingsError."""
    return load(None, {"PORT": "8080", "UNBUFFER_ADMIN": ":4198", **service["environment"]}, {})


def validate(file: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.process
@each_file
def test_it_is_what_the_specification_allows(name: str, tmp_path: Path) -> None:
    done = validate(FOLDER / name)
    assert done.returncode == 0, done.stdout

    wrong = tmp_path / "compose.yaml"
    wrong.write_text((FOLDER / name).read_text().replace("cap_drop", "cap_dorp"))
    assert validate(wrong).returncode == 1


@each_file
def test_what_is_built_from_or_mounted_exists(name: str) -> None:
    for service in services(name).values():
        if "build" in service:
            context = FOLDER / service["build"]["context"]
            assert context.resolve() == ROOT
            assert (context / service["build"]["dockerfile"]).is_file()
        for mount in service.get("volumes", ()):
            source, _, target = mount.partition(":")
            if source.startswith("."):
                assert (FOLDER / source).exists(), source
                assert target.endswith(":ro")


def test_the_dashboard_is_where_grafana_looks_for_it() -> None:
    grafana = services(IN_FRONT)["grafana"]
    targets = {mount.split(":")[1] for mount in grafana["volumes"]}
    provider = yaml.safe_load((ROOT / "deploy/grafana/provisioning/dashboards/unbuffer.yml").read_text())
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home in targets
    assert home.startswith(provider["providers"][0]["options"]["path"] + "/")
    source = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text())
    assert source["datasources"][0]["url"] == "http://prometheus:9090"


def test_prometheus_asks_the_admin_port_by_the_same_rules() -> None:
    own = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    original = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    (job,) = own["scrape_configs"]
    unbuffer = services(IN_FRONT)["unbuffer"]
    assert job["static_configs"] == [{"targets": [f"unbuffer{settings(unbuffer).admin.address}"]}]
    assert unbuffer["expose"] == ["4198"]
    job["static_configs"] = original["scrape_configs"][0]["static_configs"]
    assert own == original
    targets = [mount.split(":")[1] for mount in services(IN_FRONT)["prometheus"]["volumes"]]
    assert f"/etc/prometheus/{own['rule_files'][0]}" in targets


@each_file
def test_clients_reach_unbuffer_and_nobody_else(name: str) -> None:
    found = services(name)
    app, unbuffer = found["app"], found["unbuffer"]
    own = settings(unbuffer)
    public = {IN_FRONT: unbuffer, SIDECAR: app, REPLICAS: found.get("balancer")}[name]
    assert public is not None
    assert public["ports"] == [f"8080{own.listen.address[0]}"]
    assert not [one for one in found.values() if one is not public and "ports" in one and "profiles" not in one]
    if name != SIDECAR:
        assert own.upstream.url == "http://app:8000"
        return
    assert unbuffer["network_mode"] == "service:app"
    command = app["command"]
    assert own.upstream.url == f"http://{command[command.index('--host') + 1]}:{command[command.index('--port') + 1]}"
    assert own.upstream.url.startswith("http://127.0.0.1:")


@each_file
def test_docker_waits_longer_than_the_drain(name: str) -> None:
    found = services(name)
    own = settings(found["unbuffer"])
    patience = parse_duration(found["unbuffer"]["stop_grace_period"])
    assert patience > own.drain.delay + own.drain.timeout
    assert parse_duration(found["app"]["stop_grace_period"]) >= patience


@each_file
def test_nothing_runs_with_more_rights_than_it_needs(name: str) -> None:
    found = services(name)
    for own in (service for service in found.values() if "profiles" not in service):
        assert (own["read_only"], own["cap_drop"]) == (True, ["ALL"])
        assert own["security_opt"] == ["no-new-privileges:true"]
    for own in (found["app"], found["unbuffer"]):
        assert own["healthcheck"]["test"][0] == "CMD", "no shell"


@each_file
def test_the_image_has_the_version(name: str) -> None:
    assert services(name)["unbuffer"]["image"].startswith("unbuffer:")


def test_the_replicas_share_a_store_that_has_room_for_both() -> None:
    found = services(REPLICAS)
    own, valkey = settings(found["unbuffer"]), found["valkey"]
    target = parse_store(own.resume.store.url)
    assert found[target.host] is valkey
    assert target.port == 6379
    assert own.resume.window
    command = valkey["command"]
    most = int(command[command.index("--maxmemory") + 1].removesuffix("mb")) << 20
    assert most >= 1.5 * found["unbuffer"]["deploy"]["replicas"] * own.resume.total


@pytest.mark.process
def test_haproxy_knows_every_line_and_asks_the_admin_port_of_all_replicas() -> None:
    file = FOLDER / "haproxy.cfg"
    done = subprocess.run([installed("haproxy"), "-c", "-f", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    replicas = services(REPLICAS)["unbuffer"]
    own, text = settings(replicas), file.read_text()
    count = replicas["deploy"]["replicas"]
    assert f"server-template unbuffer- {count} unbuffer{own.listen.address[0]} resolvers docker" in text
    assert f"check port {own.admin.address.removeprefix(':')} inter 2s fall 2" in text
    assert own.drain.delay >= 2 * 2.0
