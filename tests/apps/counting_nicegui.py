"""A page of NiceGUI whose button counts as far as a gate lets it."""

from nicegui import ui

from tests.e2e.app import app, gates


@ui.page("/counter/{gate}")
def counter(gate: str) -> None:
    said = ui.label("nothing").classes("said")

    async def count() -> None:
        async for number in gates[gate].numbers():
            said.text = f"event {number}"

    ui.button("count", on_click=count)


ui.run_with(app)
