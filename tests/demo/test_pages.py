"""The demo's pages against its app."""

from unbuffer.demo.app import TEXT, app, tokens
from unbuffer.demo.pages import PATHS, index


def test_the_index_lists_every_path_of_the_app() -> None:
    listed = {(method, path) for method, path, _ in PATHS}
    served = {(method.upper(), path) for path, methods in app.openapi()["paths"].items() for method in methods}

    assert served <= listed
    assert all(path in index() for _, path in listed)


def test_the_text_is_shorter_than_what_chromium_waits_for() -> None:
    assert len(TEXT) < 1024
    assert "".join(tokens(TEXT)) == TEXT
