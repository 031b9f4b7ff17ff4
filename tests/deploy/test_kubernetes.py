"""The manifests as kubectl merges them: valid in every version they are for, and right about the life of a sidecar."""

import copy
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.apps.installed import python
from tests.deploy.containers import ROOT
from tests.programs import installed
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
        folder = tmp_path / "kubernetes"
        shutil.copytree(FOLDER, folder, dirs_exist_ok=True)
        file = folder / "example" / "kustomization.yaml"
        text = file.read_text()
        shown = yaml.safe_load(text)["components"]
        assert shown == ["../component"]
        for component in components:
            assert f"../{component}" in text, "the example shows every component"
        kustomization = yaml.safe_load(text)
        kustomization["components"] = [f"../{name}" for name in components]
        if "classic" in components:  # as the comment in the file says
            sizes = folder / "example" / "sizes.yaml"
            merged = sizes.read_text().replace("      containers:\n", "").replace("initContainers", "containers")
            sizes.write_text(merged)
        if any("autoscaling" in name for name in components):
            del kustomization["replicas"]
        file.write_text(yaml.safe_dump(kustomization))
        return kustomized(folder / "example")

    return build


def kustomized(folder: Path) -> dict[str, Manifest]:
    """What kubectl makes of a folder."""
    done = subprocess.run([installed("kubectl"), "kustomize", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    found = {document["kind"]: document for document in yaml.safe_load_all(done.stdout)}
    found["Pod"] = found["Deployment"]["spec"]["template"]
    return found


def one(items: list[Manifest], name: str) -> Manifest:
    """The item of this name."""
    (found,) = (item for item in items if item["name"] == name)
    return found


def settings(container: Manifest) -> Settings:
    """What unbuffer makes of a container's environment, with the file that is mounted for it. Raises SettingsError."""
    environ = {variable["name"]: variable["value"] for variable in container["env"]}
    file = str(FOLDER / "routes" / "unbuffer.yaml") if "UNBUFFER_CONFIG" in environ else None
    return load(file, environ, {})


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


@pytest.mark.process
def test_an_application_of_ones_own_has_the_sidecar_as_the_page_says(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "unbuffer")
    own = tmp_path / "own"
    own.mkdir()
    shutil.copy(FOLDER / "example" / "deployment.yaml", own)
    page = (FOLDER / "README.md").read_text()
    (told,) = re.findall(r"^```yaml\n(components:.*?)^```$", page, re.DOTALL | re.MULTILINE)
    (own / "kustomization.yaml").write_text(f"resources: [deployment.yaml]\n{told}")
    (sidecar,) = kustomized(own)["Pod"]["spec"]["initContainers"]
    assert sidecar["image"] == "registry.example.com/unbuffer:0.1.0"


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
    assert unbuffer["startupProbe"]["httpGet"]["path"] == "/livez", "the application starts after this probe"
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
    volume = one(spec["volumes"], "sockets")
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


# -- sizes, replicas, settings from a file


@pytest.mark.process
def test_the_numbers_of_the_example_are_those_of_the_pod(build: Build) -> None:
    documents = build("component")
    deployment = documents["Deployment"]["spec"]
    (count,) = read("example/kustomization.yaml")["replicas"]
    assert deployment["replicas"] == count["count"] == 2
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    sizes = read("example/sizes.yaml")["spec"]["template"]["spec"]
    for kind in ("initContainers", "containers"):
        for container in sizes[kind]:
            assert one(deployment["template"]["spec"][kind], container["name"])["resources"] == container["resources"]
    budget = documents["PodDisruptionBudget"]["spec"]
    assert budget["selector"] == deployment["selector"]
    assert budget["maxUnavailable"] < count["count"]


@pytest.mark.process
def test_the_settings_of_the_config_map_are_those_that_are_mounted_and_watched(build: Build, tmp_path: Path) -> None:
    documents = build("component", "routes")
    for kind in ("Deployment", "ConfigMap"):
        kubernetes_validate.validate(documents[kind], VERSIONS[-1], strict=True)
    spec = documents["Pod"]["spec"]
    unbuffer = one(spec["initContainers"], "unbuffer")
    volume = one(spec["volumes"], "unbuffer-settings")
    (mount,) = unbuffer["volumeMounts"]
    assert volume["configMap"] == {"name": documents["ConfigMap"]["metadata"]["name"]}
    assert (mount["name"], mount["readOnly"], mount.get("subPath")) == (volume["name"], True, None)
    (name,) = documents["ConfigMap"]["data"]
    environ = {variable["name"]: variable["value"] for variable in unbuffer["env"]}
    assert environ["UNBUFFER_CONFIG"] == f"{mount['mountPath']}/{name}"
    (tmp_path / name).write_text(documents["ConfigMap"]["data"][name])
    warnings: list[object] = []
    own = load(str(tmp_path / name), environ, {}, warn=warnings.append)
    assert warnings == []
    assert own.reload == "watch"
    assert [route.name for route in own.routes] == ["chat", "uploads"]
    assert own.listen.address == (":8080",), "the variables of the sidecar still count"


@pytest.mark.process
def test_a_prefix_reaches_every_name_that_is_referred_to(build: Build, tmp_path: Path) -> None:
    build("component", "routes", "autoscaling/adapter", "autoscaling/keda", "edge")
    file = tmp_path / "kubernetes" / "example" / "kustomization.yaml"
    file.write_text(f"{file.read_text()}namePrefix: mine-\n")
    merged = kustomized(file.parent)
    deployment, service, config_map = (
        merged[kind]["metadata"]["name"] for kind in ("Deployment", "Service", "ConfigMap")
    )
    for kind in ("HorizontalPodAutoscaler", "ScaledObject"):
        assert merged[kind]["spec"]["scaleTargetRef"]["name"] == deployment == "mine-app"
    assert merged["HTTPRoute"]["spec"]["rules"][0]["backendRefs"][0]["name"] == service
    volume = one(merged["Pod"]["spec"]["volumes"], "unbuffer-settings")
    assert volume["configMap"]["name"] == config_map


# -- autoscaling


KEDA = """
import json, sys
from cloudcoil.models.keda.v1alpha1 import ScaledObject
for document in json.load(sys.stdin):
    read = ScaledObject.model_validate(document)
    print(read.model_dump_json(by_alias=True, exclude_unset=True))
"""
"""Of each document what KEDA knows; a key that it does not know is left out. Raises for a wrong value."""


@pytest.mark.process
def test_the_autoscaler_is_valid_and_asks_for_what_the_adapter_serves(build: Build) -> None:
    documents = build("component", "monitoring", "autoscaling/adapter")
    autoscaler = documents["HorizontalPodAutoscaler"]
    for document in (autoscaler, documents["Deployment"]):
        kubernetes_validate.validate(document, VERSIONS[-1], strict=True)
    assert "replicas" not in documents["Deployment"]["spec"], "each apply would undo what the autoscaler has decided"
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": documents["Deployment"]["metadata"]["name"]}
    assert autoscaler["spec"]["scaleTargetRef"] == target
    (metric,) = autoscaler["spec"]["metrics"]
    (rule,) = read("autoscaling/adapter/rules.yaml")["rules"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]


@pytest.mark.process
def test_the_scaled_object_is_valid_and_scales_the_deployment(build: Build) -> None:
    documents = build("component", "monitoring", "autoscaling/keda")
    scaled = documents["ScaledObject"]
    wrong = copy.deepcopy(scaled)
    wrong["spec"]["triggers"][0]["metricTyp"] = "Value"
    done = subprocess.run(
        [python(), "-c", KEDA], input=json.dumps([scaled, wrong]), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    known, other = map(json.loads, done.stdout.splitlines())
    assert known == scaled
    assert other != wrong
    assert scaled["spec"]["scaleTargetRef"]["name"] == documents["Deployment"]["metadata"]["name"]
    assert "replicas" not in documents["Deployment"]["spec"]


STREAMS = {
    # Two routes of a pod, a pod that drains, one of another Deployment, and one without a stream since its start.
    'unbuffer_active_streams{namespace="default", pod="app-1", route="chat", kind="sse"}': 30,
    'unbuffer_active_streams{namespace="default", pod="app-1", route="default", kind="other"}': 12,
    'unbuffer_active_streams{namespace="default", pod="app-2", route="chat", kind="sse"}': 50,
    'unbuffer_active_streams{namespace="default", pod="other-1", route="chat", kind="sse"}': 70,
    'unbuffer_draining{namespace="default", pod="app-1"}': 0,
    'unbuffer_draining{namespace="default", pod="app-2"}': 1,
    'unbuffer_draining{namespace="default", pod="app-3"}': 0,
    'unbuffer_draining{namespace="default", pod="other-1"}': 0,
}


def asked(directory: Path, query: str, series: dict[str, int], expected: dict[str, int]) -> None:
    """Prometheus finds these values, by their labels, where there are these series."""
    samples = [{"labels": labels, "value": value} for labels, value in expected.items()]
    question = {"expr": query, "eval_time": "1m", "exp_samples": samples}
    given = [{"series": name, "values": f"{value}x5"} for name, value in series.items()]
    (directory / "test.yml").write_text(
        yaml.safe_dump({"tests": [{"interval": "15s", "input_series": given, "promql_expr_test": [question]}]})
    )
    command = [installed("promtool"), "test", "rules", "test.yml"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.process
def test_the_adapter_gives_each_pod_the_sum_of_its_streams(tmp_path: Path) -> None:
    (rule,) = read("autoscaling/adapter/rules.yaml")["rules"]
    query = rule["metricsQuery"]
    # What the adapter puts in for two pods of a namespace.
    for field, value in {
        "Series": rule["seriesQuery"].partition("{")[0],
        "LabelMatchers": 'namespace="default",pod=~"app-1|app-2"',
        "GroupBy": "pod",
    }.items():
        assert f"<<.{field}>>" in query
        query = query.replace(f"<<.{field}>>", value)
    asked(tmp_path, query, STREAMS, {'{pod="app-1"}': 42, '{pod="app-2"}': 50})


@pytest.mark.process
def test_keda_counts_the_streams_of_pods_that_take_new_ones(tmp_path: Path) -> None:
    (trigger,) = read("autoscaling/keda/scaled-object.yaml")["spec"]["triggers"]
    query = trigger["metadata"]["query"]
    asked(tmp_path, query, STREAMS, {"{}": 42})
    resting = {name: value for name, value in STREAMS.items() if "active" not in name or "other-1" in name}
    asked(tmp_path, query, resting, {"{}": 0})
    asked(tmp_path, query, {name: value for name, value in STREAMS.items() if "app-" not in name}, {})
    assert trigger["metadata"]["ignoreNullValues"] == "false"


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


@pytest.mark.process
def test_the_edge_is_merged_with_one_of_its_two_ways_in(build: Build) -> None:
    assert build("component", "edge")["HTTPRoute"] == read("edge/gateway-api.yaml")
    kustomization = (FOLDER / "edge" / "kustomization.yaml").read_text()
    for file in (FOLDER / "edge").iterdir():
        assert file.name in kustomization or file.name == "kustomization.yaml"


@pytest.mark.process
@pytest.mark.parametrize("version", VERSIONS)
def test_a_gateway_is_told_that_unbuffer_speaks_http2(build: Build, version: str) -> None:
    """The port is the one that takes HTTP/1.1 as well, as the defaults have it."""
    merged = build("component", "h2c")
    kubernetes_validate.validate(merged["Service"], version, strict=True)
    (port,) = merged["Service"]["spec"]["ports"]
    plain = read("example/service.yaml")["spec"]["ports"][0]
    assert port == plain | {"appProtocol": "kubernetes.io/h2c"}
    own = settings(one(merged["Pod"]["spec"]["initContainers"], "unbuffer"))
    assert own.listen.http2
    assert own.listen.address == (f":{port['targetPort']}",)


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
