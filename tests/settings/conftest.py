"""A directory of its own for each test, with the settings file in it, so that messages name it as users see it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from unbuffer.settings.load import SettingsError, load

Write = Callable[[str | bytes], str]
Problems = Callable[..., list[str]]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes `unbuffer.yaml` into the working directory and gives its name."""
    monkeypatch.chdir(tmp_path)

    def write(content: str | bytes) -> str:
        data = content if isinstance(content, bytes) else content.encode()
        Path("unbuffer.yaml").write_bytes(data)
        return "unbuffer.yaml"

    return write


@pytest.fixture
def problems(write: Write) -> Problems:
    """The lines of the report for this file, environment and flags."""

    def problems(
        content: str | bytes | None = None,
        environ: dict[str, str] | None = None,
        flags: dict[str, str | list[str]] | None = None,
    ) -> list[str]:
        with pytest.raises(SettingsError) as caught:
            load(None if content is None else write(content), environ or {}, flags or {})
        lines = str(caught.value).split("\n")
        assert lines == [str(problem) for problem in caught.value.problems]
        return lines

    return problems
