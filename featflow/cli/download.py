"""``featflow download`` and ``featflow convert-weights``: weights that others publish."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from featflow.cli.codes import exits_cleanly
from featflow.cli.console import results

if TYPE_CHECKING:
    from featflow.nodes import Card


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("download")(exits_cleanly(download))
    app.command("convert-weights")(exits_cleanly(convert_weights))


def download(
    nodes: list[str] | None = typer.Argument(None, help="Nodes, such as face/retinaface."),
    everything: bool = typer.Option(False, "--all", help="All nodes whose weights are published."),
) -> None:
    """Fetch weights into the cache, so that nothing is fetched later."""
    from featflow.errors import OptionError
    from featflow.hub import HubTransport, obtain
    from featflow.nodes import available, card_of

    if bool(nodes) == everything:
        raise OptionError("name the nodes to download, or give --all (and not both)")
    cards = [card_of(name) for name in (available() if everything else nodes or [])]
    shipped = [card.id for card in cards if card.source is None]
    if shipped and not everything:
        raise OptionError(f"nothing to download for {', '.join(shipped)}: weights come with it")
    for card in cards:
        if card.source is None:
            continue
        paths = obtain(card, transport=HubTransport(progress=sys.stderr.isatty()))
        allowed = "" if card.commercial_use else ", not for commercial use"
        results.print(f"{card.id}: {paths[0]} ({card.licence}{allowed})", soft_wrap=True)


def convert_weights(
    file: Path = typer.Argument(
        ..., help="A PyTorch checkpoint (.pth, .pt, .pth.tar) or a .skops file."
    ),
    out: Path | None = typer.Option(None, help="File to write; by default beside FILE."),
) -> None:
    """Write a published weight file as safetensors, once, without running what is in it."""
    from featflow.hub import convert_checkpoint

    results.print(str(convert_checkpoint(file, out)), soft_wrap=True)


def weights_state(card: Card) -> str:
    """What ``featflow nodes`` says about weights: their size, and whether they are here."""
    from featflow.hub import find

    if card.source is None:
        return f"{card.size_bytes / 1e6:.1f} MB, here" if card.size_bytes else "none"
    found = find(card)
    here = "to download" if found is None else "here"
    # The layout of the HOG classifiers is not published; the file tells once it is here.
    size = card.source.tensor_bytes or sum(path.stat().st_size for path in (found or ())[:1])
    return f"{size / 1e6:.1f} MB, {here}" if size else f"? MB, {here}"
