"""``featflow nodes``: what can stand in each slot."""

from __future__ import annotations

import typer
from rich.table import Table

from featflow.cli.codes import exits_cleanly
from featflow.cli.console import results


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("nodes")(exits_cleanly(nodes))


def nodes(
    kind: str | None = typer.Argument(None, help="Only this kind, such as face."),
) -> None:
    """List nodes with size, licence and what they do."""
    from featflow.cli.download import weights_state
    from featflow.errors import CardError
    from featflow.nodes import available, card_of

    table = Table("node", "weights", "licence", "commercial", "what it does", box=None)
    for name in available(kind):
        try:
            card = card_of(name)
        except CardError as error:
            table.add_row(name, "?", "?", "?", str(error))
            continue
        size = weights_state(card)
        commercial = "yes" if card.commercial_use else "no"
        table.add_row(name, size, card.licence, commercial, card.summary)
    results.print(table)
