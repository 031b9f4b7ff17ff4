"""What was recorded of real hops, servers and applications (record.py) is diagnosed as before."""

from pathlib import Path

import pytest

from unbuffer.check.diagnosis import diagnose
from unbuffer.check.observation import dumps, loads
from unbuffer.check.signatures import TABLE, Level
from unbuffer.check.words import verdict

FOLDER = Path(__file__).parent / "recorded"

FOUND: dict[str, tuple[list[str], str]] = {
    "apache_ratelimit": (["beat"], "it comes on a beat of 200 ms"),
    "app_collected": (["held_to_the_end"], "3840 bytes came at once"),
    "app_collecting": (["held_to_the_end"], "3840 bytes came at once after 1.5 s"),
    "app_google": (["app_engine"], "3840 bytes came at once"),
    "app_gzip": (["head_withheld"], "only for application/x-ndjson"),
    "app_holds_browsers": (["held_to_the_end", "compression_holds"], "only requests that accept compression are held"),
    "app_holds_http2": (["held_to_the_end", "one_http_version"], "only HTTP/2 is held; HTTP/1.1 streams"),
    "app_holds_plain": (["held_to_the_end", "one_media_type"], "only text/plain is held; text/event-stream streams"),
    "app_holds_post": (["held_to_the_end", "one_method"], "only POST is held; GET streams"),
    "app_late": (["held_irregularly"], "events come late, several at a time"),
    "caddy_4kib": (["first_bytes_held"], "its first 4 KiB are held"),
    "caddy_buffers": (["held_to_the_end"], "came at once"),
    "caddy_encode": (["head_withheld"], "only for requests that accept compression"),
    "envoy_default": ([], "streams: first event within"),
    "envoy_lua": (["held_to_the_end"], "came at once"),
    "envoy_route_timeout": (
        ["cut"],
        "cut after 15 s in all: the connection was closed. That is the default of the route",
    ),
    "envoy_patience": (["cut"], "cut after 15 s in all: the connection was closed. That is the default of the route"),
    "haproxy_default": (["beat"], "it comes on a beat of 205 ms"),
    "haproxy_idle": (["cut"], "cut after 60 s without a byte"),
    "nginx_1_0": (["steps"], "it comes in steps of 4 KiB"),
    "nginx_default": (["head_withheld"], "the head came 0.3 s late"),
    "nginx_gzip": (["held_to_the_end", "compression_holds", "head_withheld"], "only requests that accept compression"),
    "nobody": (["no_answer"], "Connection refused"),
    "probe_long_silence": ([], "streams: "),
    "probe_refuses_post": ([], "streams: "),
    "probe_truncated": (["truncated"], "and event 20 of 30"),
    "probe_without_heartbeats": (["heartbeats_swallowed"], "of the comments between them none"),
    "stream_beat": (["beat"], "a beat of 220 ms"),
    "stream_blocking": (["blocked_loop"], "each began when the one before had ended"),
    "stream_burst": (["held_to_the_end"], "290 bytes came at once after 0.8 s"),
    "stream_damaged": (["damaged"], "Content-Encoding: gzip; gzip: the body is damaged: Error -3"),
    "stream_fails": (["cut"], "cut after 0."),
    "stream_fast": ([], "streams: "),
    "stream_first_token_late": ([], "streams: first bytes after 3.0 s"),
    "stream_for_post": (["held_to_the_end"], "830 bytes came at once"),
    "stream_http_1_0": ([], "streams: "),
    "stream_moved": (["redirect"], "it answers 307"),
    "stream_never": (["silent"], "no body came within 2.0 s"),
    "stream_no_probe": (["no_probe"], "no events of a probe"),
    "stream_nothing": (["status"], "it answers 404"),
    "stream_plain": (["no_stream"], "6 bytes came at once"),
    "stream_short": (["too_short"], "11 bytes from 0.6"),
    "stream_speculative": ([], "streams: "),
    "stream_synchronous": ([], "streams: "),
    "stream_tokens": ([], "streams: "),
    "stream_uncommon": ([], "streams: "),
    "stream_unended": (["truncated", "no_stream"], "it ended cleanly, inside what its Content-Encoding: gzip began"),
    "stream_unfinished": (["truncated"], "inside an event"),
    "stream_withheld": (["head_withheld"], "the head came 0.7 s late"),
    "traefik_buffering": (["held_to_the_end"], "came at once"),
    "traefik_compress": (["head_withheld"], "only for requests that accept compression"),
    "traefik_default": ([], "streams: "),
    "unbuffer_probe": ([], "streams: first event within"),
}
"""By the name of the file: the findings that are no notes, and what the verdict has to say."""

WHO = {
    "nginx_1_0": "nginx (Server: nginx/1.22.1)",
    "caddy_4kib": "Caddy (Via: 1.1 Caddy)",
    "envoy_lua": "Envoy (server: envoy)",
    "haproxy_default": "a hop between here and the unbuffer",
    "traefik_buffering": "a hop between here and the unbuffer",
    "stream_burst": "its server (uvicorn)",
}
"""Who is named: a vendor where a field names one, and nobody else."""


def test_every_recording_is_in_the_table() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.json")) == sorted(FOUND)


@pytest.mark.parametrize("name", FOUND)
def test_a_recording(name: str) -> None:
    diagnosis = diagnose(loads((FOLDER / f"{name}.json").read_text()))
    (view,) = diagnosis.views
    graves = [finding for finding in diagnosis.findings if finding.level is not Level.NOTE]
    found, said = FOUND[name]
    assert [finding.name for finding in graves] == found
    assert said in verdict(diagnosis, view)
    if name in WHO:
        assert WHO[name].lower() in graves[0].where.lower()
    assert all(finding.signature.meaning and finding.cures for finding in diagnosis.findings)


@pytest.mark.parametrize("name", FOUND)
def test_what_was_recorded_is_kept_as_it_is(name: str) -> None:
    seen = loads((FOLDER / f"{name}.json").read_text())
    assert loads(dumps(seen)) == seen


def test_every_finding_is_recorded() -> None:
    seen = [loads((FOLDER / f"{name}.json").read_text()) for name in FOUND]
    found = {finding.name for each in seen for finding in diagnose(each).findings}
    # These are noticed without a response.
    noticed = {"query_credentials", "proxy_environment", "http2_missing"}
    assert (found | noticed, found & noticed) == (set(TABLE), set())


def test_a_silence_that_was_survived_is_told_with_its_length() -> None:
    patient = loads((FOLDER / "probe_long_silence.json").read_text())
    said = {finding.name: finding.said for finding in diagnose(patient).findings}
    assert said["silence_bounded"] == "a silence of 59 s was survived; longer ones were not tried"
    # One that was cut, or as short as the user wanted, is no matter.
    for name in ("envoy_patience", "haproxy_idle", "unbuffer_probe"):
        seen = loads((FOLDER / f"{name}.json").read_text())
        assert "silence_bounded" not in [finding.name for finding in diagnose(seen).findings]


def test_two_points_side_by_side_name_what_is_between_them() -> None:
    outer, inner = (loads((FOLDER / f"{name}.json").read_text()) for name in ("nginx_1_0", "unbuffer_probe"))
    diagnosis = diagnose([*outer, *inner])
    (steps,) = [finding for finding in diagnosis.findings if finding.name == "steps"]
    assert steps.where.startswith("between http://nginx_1_0/ and http://unbuffer_probe/; likely nginx (Server: ")
    held = loads((FOLDER / "caddy_buffers.json").read_text())
    diagnosis = diagnose([*outer, *held])
    assert {finding.where for finding in diagnosis.findings if finding.name in ("steps", "held_to_the_end")} == {
        "at http://caddy_buffers/ or behind it"
    }


def test_urls_that_are_not_points_of_one_way_are_judged_each_by_itself() -> None:
    outer, inner = (loads((FOLDER / f"{name}.json").read_text()) for name in ("nginx_1_0", "unbuffer_probe"))
    diagnosis = diagnose([*outer, *inner], one_way=False)
    assert [view.url for view in diagnosis.views] == ["http://nginx_1_0/", "http://unbuffer_probe/"]
    assert not [finding.where for finding in diagnosis.findings if finding.where.startswith("between")]


def test_a_point_that_gives_no_stream_tells_nothing_of_those_beside_it() -> None:
    outer, nobody = (loads((FOLDER / f"{name}.json").read_text()) for name in ("nginx_1_0", "nobody"))
    (steps,) = [finding for finding in diagnose([*outer, *nobody]).findings if finding.name == "steps"]
    assert "http://nobody/" not in steps.where
