"""The manifests as kubectl merges them: valid in every version they are for, and right about the life of a sidecar."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.deploy.balancers import installed
from tests.deploy.containers import ROOT
from unbuffer.settings.load import load
from unbuffer.settings.model import Settings

FOLDER = ROOT / "deploy" / "kubernetes"
Manifest = dict[str, Any]
Build = Callable[..., dict[str, Manifest]]

# The first with native sidecars and the `sleep` hook of the example, the one that declares sidecars stable, the latest.
VERSIONS = ("1.30", "1.33", "1.37")


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Builds the example with these components and gives its objects by kind; `app` is the Deployment's pod."""

    def build(*components: str) -> dict[str, Manifest]:
        copy = tmp_path / "kubernetes"
        shutil.copytree(FOLDER, copy, dirs_exist_ok=True)
        file = copy / "example" / "kustomization.yaml"
        text = file.read_text()
        shown = yaml.safe_load(text)["components"]
        assert shown == ["../component"]
        for component in components:
            assert f"../{component}" in text, "the example shows every component"
        file.write_text(yaml.safe_dump({**yaml.safe_load(text), "components": [f"../{name}" for name in components]}))
        command = [installed("kubectl"), "kustomize", str(copy / "example")]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert not done.stderr
        found = {document["kind"]: document for document in yaml.safe_load_all(done.stdout)}
        found["Pod"] = found["Deployment"]["spec"]["template"]
        return found

    return build


def one(items: list[Manifest], name: str) -> Manifest:
    """The item of this name."""
    (found,) = (item for item in items if item["name"] == name)
    return found


def settings(container: Manifest) -> Settings:
    """What unbuffer makes of a container's environment. Raises SettingsError."""
    return load(None, {variable["name"]: variable["value"] for variable in container["env"]}, {})


def variant(build: Build, name: str) -> tuple[Manifest, Manifest, Manifest]:
    """The pod of a variant with its containers: the application and unbuffer."""
    spec = build(*name.split("+"))["Pod"]["spec"]
    unbuffer = one(spec["containers"] if name == "classic" else spec["initContainers"], "unbuffer")
    return spec, one(spec["containers"], "app"), unbuffer


each_variant = pytest.mark.parametrize("name", ["component", "classic", "component+unix-socket"])


# -- valid


@pytest.mark.process
@pytest.mark.parametrize("version", VERSIONS)
@each_variant
def test_what_is_merged_is_valid(build: Build, name: str, version: str) -> None:
    documents = build(*name.split("+"))
    pod = documents.pop("Pod")
    for document in documents.values():
        kubernetes_validate.validate(document, version, strict=True)
    sidecar = pod["spec"].get("initContainers", pod["spec"]["containers"])[0]
    sidecar["restartPolcy"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(documents["Deployment"], version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_ingress_is_valid(version: str) -> None:
    kubernetes_validate.validate(read("edge/ingress-nginx.yaml"), version, strict=True)


def read(path: str) -> Manifest:
    document: Manifest = yaml.safe_load((FOLDER / path).read_text())
    return document


# -- right about the life of a sidecar


@pytest.mark.process
@each_variant
def test_the_listening_ports_are_those_that_are_declared_probed_and_sent_to(build: Build, name: str) -> None:
    _, _, unbuffer = variant(build, name)
    own = settings(unbuffer)
    assert {port["name"]: f":{port['containerPort']}" for port in unbuffer["ports"]} == {
        "http": own.listen.address[0],
        "unbuffer-admin": own.admin.address,
    }
    probes = [unbuffer[kind]["httpGet"] for kind in unbuffer if kind.endswith("Probe")]
    assert {f":{probe['port']}" for probe in probes} == {own.admin.address}
    service = read("example/service.yaml")["spec"]["ports"][0]
    assert service["targetPort"] == 8080, "a number: names of a sidecar's ports are not found before 1.32"
    allowed = {
        port["port"] for rule in read("example/network-policy.yaml")["spec"]["ingress"] for port in rule["ports"]
    }
    assert allowed == {8080, 4198}


@pytest.mark.process
def test_the_native_sidecar_starts_without_the_application_and_is_ready_with_it(build: Build) -> None:
    _, app, unbuffer = variant(build, "component")
    assert unbuffer["restartPolicy"] == "Always"
    assert unbuffer["startupProbe"]["httpGet"]["path"] == "/livez", "the application starts behind this probe"
    assert unbuffer["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert unbuffer["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert not [kind for kind in app if kind.endswith("Probe")]


@pytest.mark.process
@each_variant
def test_the_upstream_is_where_the_application_listens(build: Build, name: str) -> None:
    spec, app, unbuffer = variant(build, name)
    command = app["command"]
    url = settings(unbuffer).upstream.url
    if "unix" not in name:
        host, port = command[command.index("--host") + 1], command[command.index("--port") + 1]
        assert url == f"http://{host}:{port}"
        return
    path = command[command.index("--uds") + 1]
    assert url == f"unix:{path}"
    (volume,) = spec["volumes"]
    assert volume["emptyDir"]["medium"] == "Memory"
    for container in (app, unbuffer):
        mount = one(container["volumeMounts"], volume["name"])
        assert path.startswith(mount["mountPath"] + "/")
    assert not one(app["volumeMounts"], volume["name"]).get("readOnly")


@pytest.mark.process
@each_variant
def test_the_end_is_in_order(build: Build, name: str) -> None:
    """The application goes on until the endpoints are gone, and nothing is killed before the streams."""
    spec, app, unbuffer = variant(build, name)
    drain = settings(unbuffer).drain
    assert unbuffer["lifecycle"]["preStop"] == {"exec": {"command": ["unbuffer", "drain"]}}
    assert drain.delay > 0
    assert app["lifecycle"]["preStop"]["sleep"]["seconds"] >= drain.delay
    assert spec["terminationGracePeriodSeconds"] >= drain.delay + drain.timeout + 5


@pytest.mark.process
@each_variant
def test_nothing_runs_with_more_rights_than_it_needs(build: Build, name: str) -> None:
    _, app, unbuffer = variant(build, name)
    for container in (app, unbuffer):
        context = container["securityContext"]
        assert (context["runAsNonRoot"], context["allowPrivilegeEscalation"]) == (True, False)
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert "cpu" not in unbuffer["resources"]["limits"], "a process that is throttled delays every stream"


@pytest.mark.process
def test_the_image_is_replaced_in_the_sidecar_too(build: Build) -> None:
    assert variant(build, "component")[2]["image"].startswith("registry.example.com/unbuffer:")


def test_the_two_forms_differ_in_what_makes_a_sidecar_only() -> None:
    native = read("component/sidecar.yaml")["spec"]["template"]
    classic = read("classic/sidecar.yaml")["spec"]["template"]
    (sidecar,) = native["spec"].pop("initContainers")
    assert sidecar.pop("restartPolicy") == "Always"
    del sidecar["startupProbe"]
    assert classic["spec"].pop("containers") == [sidecar]
    assert native == classic


# -- monitoring


@pytest.mark.process
def test_prometheus_finds_the_pods_and_may_ask_them(build: Build) -> None:
    documents = build("component", "monitoring")
    labels = documents["Pod"]["metadata"]["labels"]
    unbuffer = one(documents["Pod"]["spec"]["initContainers"], "unbuffer")
    monitor = documents["PodMonitor"]["spec"]
    for selector in (monitor["selector"], documents["NetworkPolicy"]["spec"]["podSelector"]):
        assert selector["matchLabels"].items() <= labels.items()
    (endpoint,) = monitor["podMetricsEndpoints"]
    assert one(unbuffer["ports"], endpoint["port"])["containerPort"] == 4198
    assert endpoint["path"] == "/metrics"
    assert {"targetLabel": "job", "replacement": "unbuffer"} in endpoint["relabelings"]


def test_the_rules_are_those_of_prometheus() -> None:
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yml").read_text())
    assert read("monitoring/prometheus-rule.yaml")["spec"] == rules


# -- what stands in front


def test_the_routes_lead_to_the_service_and_have_no_total_deadline() -> None:
    service = read("example/service.yaml")
    name, port = service["metadata"]["name"], service["spec"]["ports"][0]["port"]
    (rule,) = read("edge/gateway-api.yaml")["spec"]["rules"]
    assert rule["backendRefs"] == [{"name": name, "port": port}]
    assert rule["timeouts"] == {"request": "0s", "backendRequest": "0s"}
    ingress = read("edge/ingress-nginx.yaml")
    (path,) = ingress["spec"]["rules"][0]["http"]["paths"]
    assert path["backend"]["service"] == {"name": name, "port": {"number": port}}
    prefix = "nginx.ingress.kubernetes.io/"
    own = {key.removeprefix(prefix): value for key, value in ingress["metadata"]["annotations"].items()}
    assert (own["proxy-buffering"], own["proxy-request-buffering"]) == ("off", "off")
    assert own["proxy-http-version"] == "1.1"
    assert int(own["proxy-read-timeout"]) > 4 * Settings().sse.heartbeat
