"""The JSON Schema: derived from the model, and of one mind with the loader."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.settings.conftest import Problems, Write
from tests.settings.test_addresses import ADDRESSES, UPSTREAMS
from unbuffer.settings import model, resume, route
from unbuffer.settings.kinds import Section
from unbuffer.settings.load import dump, load
from unbuffer.settings.model import Settings
from unbuffer.settings.schema import schema

CONFIG = Path(__file__).parents[2] / "config"
FILE = CONFIG / "unbuffer.schema.json"
VALIDATOR = Draft202012Validator(json.loads(FILE.read_text()))

GOOD = [
    "{}",
    "listen: 127.0.0.1:8080",
    "listen: [':1', 'unix:/run/a.sock']",
    "listen: {address: ':1', tls: {certificate: ''}}",
    "upstream: unix:/run/app.sock",
    "upstream: {url: 'https://app', wait: 5s}",
    "admin: 'off'",
    "admin: {address: 'off'}",
    "timeouts: {silence: 0, connect: 250ms, request_head: 1m30s, keep_alive: 2h}",
    "limits: {head: 64KiB, target: 8000, body: 10MB, headers: 1}",
    "forwarded: {trusted_proxies: [10.0.0.0/8, unix]}",
    "forwarded: {trusted_proxies: 10.0.0.0/8}",
    "log: {format: text, level: debug}",
    "routes: [{name: a, prefix: /a, methods: GET, timeouts: {silence: 5s}, limits: {body: 1GiB}, decode: true}]",
]
BAD = [
    "[]",
    "lissten: 127.0.0.1:8080",
    "timeouts: {silense: 30s}",
    "listen: 8080",
    "listen: '8080'",
    "listen: '*:80'",
    "listen: 'off'",
    "listen: {address: ':1', port: 1}",
    "upstream: 127.0.0.1:8000",
    "upstream: http://app/v1",
    "upstream: http://me@app",
    "upstream: http://:80",
    "upstream: [http://app]",
    "admin: [':1']",
    "admin: 'on'",
    "timeouts: {silence: 30}",
    "timeouts: {silence: 30 sec}",
    "timeouts: {silence: 1.5s}",
    "timeouts: {silence: ''}",
    "timeouts: 30s",
    "limits: {head: 512}",
    "limits: {head: 64K}",
    "limits: {headers: 0}",
    "limits: {body: -1}",
    "decode: 1",
    "decode: streaming",
    "log: {format: xml}",
    "log: json",
    "routes: {}",
    "routes: [{prefix: /a}]",
    "routes: [{name: a, prefix: a}]",
    "routes: [{name: a b, prefix: /a}]",
    "routes: [{name: a, prefix: /a, methods: [get]}]",
]


def test_the_file_is_what_the_model_says() -> None:
    command = [sys.executable, "-m", "unbuffer.settings.schema"]
    written = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert FILE.read_text() == written, "run: python -m unbuffer.settings.schema > config/unbuffer.schema.json"


def test_it_is_a_schema_without_an_address_of_its_own() -> None:
    Draft202012Validator.check_schema(schema())
    assert schema()["title"] == "Settings of unbuffer"
    assert not re.search(r'"\$id"', FILE.read_text())


@pytest.mark.parametrize("file", sorted(CONFIG.glob("*.yaml")), ids=lambda file: file.name)
def test_the_files_in_config_fit(file: Path) -> None:
    VALIDATOR.validate(yaml.safe_load(file.read_text()))


def test_what_dump_writes_fits() -> None:
    VALIDATOR.validate(yaml.safe_load(dump(Settings())))


@pytest.mark.parametrize("content", GOOD)
def test_what_the_loader_takes_fits(write: Write, content: str) -> None:
    load(write(content), {}, {})
    VALIDATOR.validate(yaml.safe_load(content))


@pytest.mark.parametrize("content", BAD)
def test_what_the_loader_refuses_does_not_fit(problems: Problems, content: str) -> None:
    assert problems(content)
    assert not VALIDATOR.is_valid(yaml.safe_load(content))


@pytest.mark.parametrize("text", [text for text, _ in ADDRESSES])
def test_every_form_of_an_address_fits(text: str) -> None:
    VALIDATOR.validate({"listen": {"address": [text]}, "admin": text})


@pytest.mark.parametrize("url", [url for url, _ in UPSTREAMS])
def test_every_form_of_an_upstream_fits(url: str) -> None:
    VALIDATOR.validate({"upstream": url})


def test_every_section_is_closed() -> None:
    """An editor marks what the loader would refuse as unknown."""
    sections = [schema(), *schema()["$defs"].values()]
    modelled = {one for module in (model, resume, route) for one in vars(module).values() if isinstance(one, type)}
    assert len(sections) == len([one for one in modelled if issubclass(one, Section)]) - 1  # without Section itself
    assert all(section["additionalProperties"] is False for section in sections)


def test_the_texts_of_the_model_describe_its_fields() -> None:
    defs: dict[str, Any] = schema()["$defs"]
    backlog = defs["Listen"]["properties"]["backlog"]
    assert backlog["description"].startswith("Connections the kernel queues before they are accepted")
    keep_alive = defs["Timeouts"]["properties"]["keep_alive"]
    assert "\n" not in keep_alive["description"]
    assert keep_alive["default"] == "620s"
    assert defs["Limits"]["properties"]["head"]["default"] == "32KiB"
