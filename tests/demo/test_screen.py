"""What the show prints, line by line."""

import io

import pytest

from unbuffer.demo.screen import Arrival, Screen, standard_output, verdict

TITLES = ("direct", "through unbuffer")


def shown(width: int, colour: bool = False) -> list[str]:
    out = io.StringIO()
    screen = Screen(out, width, colour)
    screen.heading("A race")
    screen.lanes(TITLES)
    screen.arrival(1, TITLES[1], Arrival(0.1, "A"))
    screen.arrival(1, TITLES[1], Arrival(0.2, " model"))
    screen.arrival(0, TITLES[0], Arrival(2.5, "A model writes one word after another, in a lump."))
    screen.verdicts(TITLES, [[Arrival(2.5, "A model")], [Arrival(0.1, "A"), Arrival(0.2, " model")]])
    return out.getvalue().splitlines()


def test_two_columns_with_time_running_downwards() -> None:
    assert shown(72) == [
        "",
        "A race",
        "",
        " seconds  direct                          through unbuffer",
        "   0.100                                  A",
        "   0.200                                  model",
        "   2.500  A model writes one word after",
        "          another, in a lump.",
        "",
        "direct            first token after 2.50 s, everything in 1 read",
        "through unbuffer  first token after 0.10 s, largest gap 0.10 s, 2 reads",
    ]


def test_a_narrow_terminal_gets_one_column_with_the_lane_named() -> None:
    assert shown(40) == [
        "",
        "A race",
        "",
        "   0.100  through unbuffer: A",
        "   0.200  through unbuffer: model",
        "   2.500  direct: A model writes one",
        "          word after another, in a lump.",
        "",
        "direct            first token after 2.50",
        "  s, everything in 1 read",
        "through unbuffer  first token after 0.10",
        "  s, largest gap 0.10 s, 2 reads",
    ]


@pytest.mark.parametrize("width", [30, 59, 60, 80, 100, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert max(map(len, shown(width))) <= width


def test_colour_adds_nothing_but_colour() -> None:
    coloured = "\n".join(shown(100, colour=True))

    assert "\x1b[" in coloured
    for code in ("\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[33m"):
        coloured = coloured.replace(code, "")
    assert [line.rstrip() for line in coloured.splitlines()] == [line.rstrip() for line in shown(100)]


class Terminal(io.StringIO):
    """A standard output that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("out", "environment", "coloured"),
    [
        (Terminal(), {"NO_COLOR": "", "TERM": "xterm"}, True),
        (Terminal(), {"NO_COLOR": "1", "TERM": "xterm"}, False),
        (Terminal(), {"NO_COLOR": "", "TERM": "dumb"}, False),
        (io.StringIO(), {"NO_COLOR": "", "TERM": "xterm"}, False),
    ],
)
def test_colour_is_for_terminals_and_obeys_no_color(
    out: io.StringIO, environment: dict[str, str], coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout", out)

    standard_output().heading("A race")

    assert ("\x1b[" in out.getvalue()) is coloured


def test_a_lane_without_text_says_so() -> None:
    assert verdict([]) == "no text came"
