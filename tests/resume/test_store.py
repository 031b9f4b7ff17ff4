"""What a store promises to whoever asks it."""

from unbuffer.resume.store import About, Followed, MemoryStore, Running, Search, Source


class Nothing(Running):
    def read_elsewhere(self) -> None: ...

    def kept(self) -> None: ...

    def cancel(self) -> None: ...


class Asking(Search):
    def __init__(self) -> None:
        self.answers: list[bool] = []

    def may(self, about: About) -> bool:
        raise AssertionError("nothing can be found")

    def found(self, about: About, source: Source, first: int) -> Followed:
        raise AssertionError("nothing can be found")

    def missing(self) -> None:
        self.answers.append(False)


def test_memory_finds_nothing_that_the_process_does_not_know() -> None:
    store, asking = MemoryStore(), Asking()
    store.find(b"A" * 22, asking)
    assert asking.answers == [False]
    about = About(b"A" * 22, b"GET", b"", (), 1.0, 4096, b"OK", [])
    assert store.open(about, Nothing()) is None
    assert not store.shared
