"""``featflow nodes``: what can stand in each slot."""

from __future__ import annotations

import typer
from rich.table import Column, Table

from featflow.cli.codes import exits_cleanly
from featflow.cli.console import results


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("nodes")(exits_cleanly(nodes))


def nodes(
    kind: str | None = typer.Argument(None, help="Only this kind, such as face."),
) -> None:
    """List nodes: whether their weights are here, their size and licence, and what they do."""
    from featflow.cli.download import weights_state
    from featflow.errors import CardError
    from featflow.nodes import available, card_of

    # A narrow terminal may break a licence, but must not cut it off, or a name, to be copied.
    table = Table(
        Column("node", no_wrap=True),
        Column("weights", min_width=11),
        Column("licence", overflow="fold"),
        "commercial",
        Column("what it does", overflow="fold", min_width=14),
        box=None,
        pad_edge=False,
    )
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
