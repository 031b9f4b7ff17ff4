"""The effective settings as text: the file's own forms, loaded again to the same settings, no secret in it."""

import tempfile
from pathlib import Path
from typing import Annotated

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from msgspec import Meta

from unbuffer.settings import kinds
from unbuffer.settings.fields import Setting, fields
from unbuffer.settings.kinds import Section
from unbuffer.settings.load import dump, load
from unbuffer.settings.model import Drain, Limits, Listen, Log, Settings, Timeouts, Upstream, UpstreamTLS
from unbuffer.settings.route import Route, RouteLimits, RouteTimeouts

DURATIONS = st.integers(0, 10**12).map(lambda milliseconds: milliseconds / 1000)
SIZES = st.integers(0, 10**15 - 1)


def _again(settings: Settings) -> Settings:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "unbuffer.yaml")
        file.write_text(dump(settings))
        return load(str(file), {}, {})


def test_the_defaults_survive() -> None:
    assert _again(Settings()) == Settings()


def test_every_form_is_the_one_people_write() -> None:
    settings = Settings(
        upstream=Upstream(wait=0.25),
        timeouts=Timeouts(silence=90.0),
        limits=Limits(body=10_000_000),
        log=Log(format="off"),
    )
    text = dump(settings)
    for line in (
        "  wait: 250ms",
        "  silence: 90s",
        "  response_head: 0",
        "  head: 32KiB",
        "  body: 10MB",
        "  keep_alive: 620s",
        "decode: streams",
        "routes: []",
    ):
        assert f"{line}\n" in text


def test_every_section_and_setting_is_in_it_in_the_order_of_the_model() -> None:
    plain = yaml.safe_load(dump(Settings()))
    assert list(plain) == list(fields(Settings))
    assert list(plain["timeouts"]) == list(fields(Timeouts))


@examples(deadline=None)
@given(DURATIONS, DURATIONS, DURATIONS | st.none(), SIZES, SIZES | st.none())
def test_every_duration_and_size_survives(
    silence: float, drain: float, of_route: float | None, body: int, body_of_route: int | None
) -> None:
    settings = Settings(
        timeouts=Timeouts(silence=silence),
        drain=Drain(timeout=drain),
        limits=Limits(body=body),
        routes=(
            Route(
                name="a",
                prefix="/a",
                timeouts=RouteTimeouts(silence=of_route),
                limits=RouteLimits(body=body_of_route),
            ),
        ),
    )
    assert _again(settings) == settings


def test_texts_that_yaml_reads_as_something_else_survive() -> None:
    settings = Settings(
        listen=Listen(address=("unix:/run/a, b: #c.sock", ":1")),
        upstream=Upstream(url="https://app", tls=UpstreamTLS(server_name="null")),
        log=Log(format="off"),
        routes=(
            Route(name="12:30", prefix="/~", methods=("GET", "M-SEARCH"), decode="never"),
            Route(name="0", glob="/**/!x/*"),
        ),
    )
    assert _again(settings) == settings


def test_a_name_and_password_in_the_upstream_url_are_not_shown() -> None:
    text = dump(Settings(upstream=Upstream(url="http://me:hunter2@app:80")))
    assert "url: http://***@app:80\n" in text


def test_the_path_of_a_socket_is_shown_whole() -> None:
    settings = Settings(upstream=Upstream(url="unix:///run/me:you@app.sock"))
    assert _again(settings) == settings


class Vault(Section, frozen=True):
    token: Annotated[str, Meta(min_length=8, extra={"secret": True})] = "swordfish"
    file: Annotated[kinds.Path, Meta(extra={"secret": True})] = "/run/swordfish"
    tokens: tuple[Annotated[str, Meta(extra={"secret": True})], ...] = ("swordfish", "swordfish")
    word: str = "shown"


def test_a_secret_is_not_shown() -> None:
    assert yaml.safe_load(dump(Vault())) == {
        "token": "***",
        "file": "***",
        "tokens": ["***", "***"],
        "word": "shown",
    }


def test_a_refused_secret_is_not_quoted() -> None:
    token = fields(Vault)["token"]
    assert isinstance(token, Setting)
    assert token.parse("swordfish") == "swordfish"
    with pytest.raises(ValueError, match=r"^want text; the value is secret and not shown$"):
        token.parse("hunter2")
