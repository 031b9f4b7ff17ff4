"""The same findings for people and for programs: terminal, page, JSON, JUnit, annotations, one line, and Ctrl-C."""

import io
import json
import os
import signal
import sys
import tomllib
import xml.etree.ElementTree as Xml
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.check.conftest import Run
from tests.e2e.processes import Program
from unbuffer import documents
from unbuffer.__main__ import main
from unbuffer.check import variants
from unbuffer.check.diagnosis import Diagnosis, diagnose
from unbuffer.check.formats import as_annotations, as_json, as_junit, as_lines
from unbuffer.check.observation import loads
from unbuffer.check.page import as_page
from unbuffer.check.signatures import TABLE
from unbuffer.check.terminal import Terminal

FOLDER = Path(__file__).parent / "recorded"
DOCS = Path(__file__).parents[2] / "docs"


def diagnosis(*names: str) -> Diagnosis:
    return diagnose([one for name in names for one in loads((FOLDER / f"{name}.json").read_text())])


def terminal(width: int, colour: bool, *names: str) -> str:
    out = io.StringIO()
    Terminal(out, width, colour).report(diagnosis(*names))
    return out.getvalue()


@pytest.mark.parametrize("width", [40, 80, 200])
def test_nothing_is_wider_than_the_terminal(width: int) -> None:
    for path in sorted(FOLDER.glob("*.json")):
        lines = terminal(width, False, path.stem).splitlines()
        assert all(len(line) <= width for line in lines if "docs/lump.md" not in line), path


def test_colour_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    told = Screen()
    Terminal.of(told).report(diagnosis("nginx_1_0"))
    assert "\x1b[31m" in told.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    told = Screen()
    Terminal.of(told).report(diagnosis("nginx_1_0"))
    assert "\x1b" not in told.getvalue()
    assert "\x1b" not in terminal(80, False, "nginx_1_0")


def test_each_request_says_in_one_line_what_it_is_for(check: Run, only: Callable[..., None], app: str) -> None:
    only("browser", "several")
    told = check("--ci", f"{app}/tokens?count=12")
    assert told.err == ""
    told = check(f"{app}/tokens?count=12")
    assert told.err.splitlines() == [
        f"{app}/tokens",
        "  identity: as curl asks: nothing compressed",
        "  browser: as browsers ask: compressors begin only when they are asked",
        "  several: 3 at once: a blocked event loop lets them wait for one another",
    ]


def test_no_line_that_says_so_is_wider_than_a_terminal() -> None:
    every = [*variants.with_patience(59.0), *(one for group in variants.others(True, True, 3) for one in group)]
    assert [one for one in every if not one.why or len(f"  {one.name}: {one.why}") > 80] == []


def test_the_picture_shows_when_events_were_sent_and_when_they_came() -> None:
    lines = terminal(100, False, "nginx_1_0").splitlines()
    sent = next(line for line in lines if line.startswith("identity     sent |"))
    came = lines[lines.index(sent) + 1]
    assert sent.count(".") + sent.count(":") > 15
    assert came.partition("|")[2].strip(" ").startswith("#")


def test_json_has_all_of_it_and_nothing_of_what_was_said() -> None:
    (url,) = json.loads(as_json(diagnosis("nginx_1_0")))["urls"]
    assert url["result"] == "buffered"
    assert url["hops"] == [{"vendor": "nginx", "evidence": "Server: nginx/1.22.1"}]
    (steps,) = [finding for finding in url["findings"] if finding["name"] == "steps"]
    assert steps["docs"] == "docs/lump.md#steps"
    assert {request["variant"]: request["shape"] for request in url["requests"]} == {
        "identity": "held",
        "medium": "steps",
    }


def test_junit_has_a_case_for_each_url() -> None:
    suite = Xml.fromstring(as_junit(diagnosis("nginx_1_0", "unbuffer_probe", "nobody")))
    assert {key: suite.get(key) for key in ("tests", "failures", "errors")} == {
        "tests": "3",
        "failures": "1",
        "errors": "1",
    }
    assert [[child.tag for child in case] for case in suite] == [["failure"], [], ["error"]]
    assert "in steps of 4 KiB" in (suite[0][0].get("message") or "")


def test_annotations_are_one_line_each() -> None:
    text = as_annotations(diagnosis("nginx_1_0", "unbuffer_probe"))
    assert text.startswith("::error title=unbuffer check%3A steps::http://nginx_1_0/: it comes in steps of 4 KiB")
    assert len(text.splitlines()) == 1


def test_where_there_are_several_urls_each_note_says_which_one_it_is_of() -> None:
    both = ("unbuffer_probe", "stream_fast")
    for text in (terminal(200, False, *both), as_page(diagnosis(*both), "today")):
        assert "too_quick" in text
        assert "; at http://stream_fast/" in text
    assert "; at http" not in terminal(200, False, "stream_fast")


def test_a_pipeline_gets_a_line_for_each_url() -> None:
    failed, ok = as_lines(diagnosis("nginx_1_0", "unbuffer_probe")).splitlines()
    assert failed.startswith("FAILED http://nginx_1_0/ buffered: it comes in steps of 4 KiB")
    assert ok.startswith("ok http://unbuffer_probe/ streams: first event within ")


def test_the_page_is_whole_and_needs_nothing_else() -> None:
    class Reader(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []
            self.marks = 0

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert not {name for name, _ in attrs} & {"src", "srcset"}, "it would have to be fetched"
            assert tag not in ("script", "link")
            if tag not in ("meta", "br"):
                self.open.append(tag)

        def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.marks += tag == "line"

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    for path in sorted(FOLDER.glob("*.json")):
        reader = Reader()
        reader.feed(as_page(diagnosis(path.stem), "today"))
        assert not reader.open
        assert reader.marks or path.stem in ("nobody", "stream_never", "stream_moved", "stream_nothing"), path


def test_what_a_server_says_cannot_break_the_page() -> None:
    seen = loads((FOLDER / "nginx_1_0.json").read_text())
    evil = [type(seen[0])("http://a/", "<script>", fields=(("Server", "<b>&\"'"),), status=200, head=0.1)]
    page = as_page(diagnose(evil), "today")
    assert "<script>" not in page
    assert "&lt;b&gt;&amp;" in page


def test_where_to_read_more_is_a_link_if_the_build_knows_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    found = diagnosis("nginx_1_0")
    assert "   docs/lump.md#steps in unbuffer's repository\n" in terminal(80, False, "nginx_1_0")
    assert "steps, docs/lump.md#steps in unbuffer&#x27;s repository<" in as_page(found, "today")
    monkeypatch.setattr(documents, "REPOSITORY", "https://code.example/unbuffer")
    place = "https://code.example/unbuffer/blob/HEAD/docs/lump.md#steps"
    assert f"   {place}\n" in terminal(80, False, "nginx_1_0")
    assert f'<a href="{place}">{place}</a>' in as_page(found, "today")
    assert as_annotations(found).endswith(f". {place}")
    assert json.loads(as_json(found))["urls"][0]["findings"][0]["docs"] == place


def test_every_finding_has_its_place_in_the_document() -> None:
    text = (DOCS / "lump.md").read_text()
    assert [name for name in TABLE if f"\n### {name}\n" not in text] == []


@pytest.mark.process
def test_the_files_are_written(check: Run, app: str, tmp_path: Path) -> None:
    page, suite = tmp_path / "report.html", tmp_path / "report.xml"
    told = check("--quick", "--ci", "--github", "--html", str(page), "--junit", str(suite), f"{app}/burst")
    assert told.code == 1
    assert told.out.splitlines()[1].startswith("::error title=unbuffer check%3A held_to_the_end::")
    assert "held to the end" in page.read_text()
    assert Xml.parse(suite).getroot().get("failures") == "1"
    told = check("--quick", "--html", str(tmp_path / "none" / "x.html"), f"{app}/plain")
    assert (told.code, "Traceback" in told.err) == (2, False)
    assert "\nunbuffer check: cannot write " in told.err


@pytest.mark.process
@pytest.mark.parametrize("command", [("check", "http://a/"), ("serve",)])
def test_ctrl_c_while_it_is_being_loaded_is_a_quiet_end(command: tuple[str, ...], tmp_path: Path) -> None:
    """The first module that the command needs is one that waits until somebody has come, and then for ever."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "argparse.py").write_text(f"open({str(fifo)!r}).read()")
    heeding = f"import signal, sys; signal.signal(2, signal.default_int_handler); sys.path.insert(0, {str(tmp_path)!r})"
    program = Program(
        sys.executable, "-c", f"{heeding}; from unbuffer.__main__ import main; sys.exit(main())", *command
    )
    try:
        with fifo.open("w"):  # it is there
            program.signal(signal.SIGINT)
            assert program.exit_code() == 130
    finally:
        program.signal(signal.SIGKILL)
    assert (program.out.all(), program.err.all()) == ([], [])


def test_the_command_begins_where_ctrl_c_is_looked_after() -> None:
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"unbuffer": f"{main.__module__}:main"}


@pytest.mark.process
def test_ctrl_c_tells_what_is_known_by_then(app: str) -> None:
    # A shell that starts something in the background has it ignore SIGINT, and so do the programs that this one starts.
    heeding = "import signal, unbuffer.__main__ as it; signal.signal(2, signal.default_int_handler); exit(it.main())"
    program = Program(sys.executable, "-c", heeding, "check", f"{app}/tokens?count=10", f"{app}/never?told=1")
    try:
        program.err.match("/never$")
        program.signal(signal.SIGINT)
        assert program.exit_code() == 130
    finally:
        program.signal(signal.SIGKILL)
    out = "\n".join(program.out.all())
    assert "streams: first bytes after" in out
    assert "when it was interrupted" in out
    assert program.err.all()[-1] == "unbuffer check: interrupted; this is what was known by then"
