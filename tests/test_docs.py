"""What the documents say is held to the code."""

import io
import re
from pathlib import Path

import pytest

from unbuffer.demo.app import TEXT, tokens
from unbuffer.demo.screen import Arrival, Screen
from unbuffer.outcome import Outcome
from unbuffer.server.reload import AT_START_ONLY
from unbuffer.settings.load import SettingsError, load

ROOT = Path(__file__).parents[1]


def block(text: str, language: str, beginning: str) -> str:
    """The fenced block of `text` that begins so."""
    blocks: list[str] = re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    (found,) = [found for found in blocks if found.startswith(beginning)]
    return found


def test_every_outcome_is_documented_as_it_is() -> None:
    rows = [line for line in (ROOT / "docs/outcomes.md").read_text().splitlines() if line.startswith("| `")]
    expected = [
        f"| `{ending.name}` | {ending.status or '-'} | {f'`{ending.error}`' if ending.error else '-'} | {ending.text} |"
        for ending in (outcome.value for outcome in Outcome)
    ]
    assert rows == expected


def test_all_settings_that_need_a_restart_are_documented() -> None:
    text = (ROOT / "docs/life.md").read_text()
    (paragraph,) = [
        part for part in text.split("\n\n") if "a warning names each such setting" in " ".join(part.split())
    ]
    named = re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)`", paragraph)
    assert sorted(named) == sorted((*AT_START_ONLY, "upstream.url"))


def test_the_configuration_in_the_readme_is_valid(tmp_path: Path) -> None:
    text = block((ROOT / "README.md").read_text(), "yaml", "# unbuffer serve")
    assert len(text.splitlines()) <= 15
    file = tmp_path / "unbuffer.yaml"
    file.write_text(text)
    settings = load(str(file), {}, {})
    assert settings.routes[0].name == "chat"
    assert settings.upstream.wait == 10.0


def test_the_report_of_mistakes_in_the_readme_is_real(tmp_path: Path) -> None:
    shown = block((ROOT / "README.md").read_text(), "text", "unbuffer.yaml:3").splitlines()
    file = tmp_path / "unbuffer.yaml"
    file.write_text("listen: :8080\n\nupstram: http://127.0.0.1:8000\n\n\ntimeouts:\n  silence: 30 sec\n")
    with pytest.raises(SettingsError) as caught:
        load(str(file), {}, {})
    assert [line.replace(f"{tmp_path}/", "") for line in str(caught.value).splitlines()] == shown


def test_the_race_in_the_readme_is_what_the_demo_prints() -> None:
    """Words, columns and counts; the times are those of the run it was taken from."""
    shown = block((ROOT / "README.md").read_text(), "text", " seconds  direct")
    out = io.StringIO()
    screen = Screen(out, 100, colour=False)
    titles = ("direct", "through unbuffer")
    *before, last = (Arrival(0.1 * number, word) for number, word in enumerate(tokens(TEXT), 1))
    lump = Arrival(last.at, TEXT)
    screen.lanes(titles)
    for word in before:
        screen.arrival(1, titles[1], word)
    screen.arrival(0, titles[0], lump)
    screen.arrival(1, titles[1], last)
    screen.verdicts(titles, [[lump], [*before, last]])
    head, left_out, rest = _timeless(shown).partition("   ...\n")
    assert left_out
    assert re.fullmatch(f"{re.escape(head)}(.+\n)*{re.escape(rest)}", _timeless(out.getvalue().lstrip("\n")))


def _timeless(text: str) -> str:
    return re.sub(r"\d+\.\d+", "0.0", text)


def test_the_site_has_every_document() -> None:
    """Whether links and anchors lead somewhere `make site` says; it is part of `make check`."""
    listed = re.findall(r'= "([^"]+\.md)"', (ROOT / "zensical.toml").read_text())
    assert {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} <= set(listed)
    assert [name for name in listed if not (ROOT / name).is_file()] == []
