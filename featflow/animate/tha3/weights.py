"""Reading a user's folder of THA3 weights."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from featflow.animate.tha3 import PARTS, network
from featflow.animate.weight_files import read_tensors
from featflow.errors import MissingInputError, WeightsError

ATTRIBUTION = (
    "Talking Head Anime 3 models by Pramook Khungurn, CC-BY 4.0 "
    "(https://github.com/pkhungurn/talking-head-anime-3-demo); name them where you show the result"
)


def load_networks(folder: str | Path, *, separable: bool) -> dict[str, nn.Module]:
    """The five networks with the weights of a folder, in evaluation mode.

    Args:
        folder: holds one ``<part>.safetensors`` or ``<part>.pt`` for each part of
            :data:`~featflow.animate.tha3.PARTS`, or a folder ``separable_float``, ... that does.
        separable: which form the weights have.

    Raises:
        MissingInputError: no folder, or a file is missing.
        WeightsError: a file is damaged or belongs to another network.
    """
    place = _resolved(Path(folder), separable)
    variant = "separable" if separable else "standard"
    networks = {}
    for part in PARTS:
        module = network(f"tha3_{variant}_{part}")
        _fill(module, _file(place, part))
        networks[part] = module
    return networks


def _resolved(folder: Path, separable: bool) -> Path:
    if not folder.is_dir():
        raise MissingInputError(str(folder), "is no folder of THA3 weights")
    variant = "separable" if separable else "standard"
    for name in (f"{variant}_float", f"{variant}_half"):
        if (folder / name).is_dir():
            return folder / name
    return folder


def _file(folder: Path, part: str) -> Path:
    for suffix in (".safetensors", ".pt"):
        path = folder / f"{part}{suffix}"
        if path.is_file():
            return path
    raise MissingInputError(str(folder / f"{part}.pt"), "no such weight file")


def _fill(module: nn.Module, path: Path) -> None:
    stored = read_tensors(path)
    wanted = module.state_dict()
    missing, extra = sorted(wanted.keys() - stored.keys()), sorted(stored.keys() - wanted.keys())
    if missing or extra:
        key = f"{missing[0]!r} is missing" if missing else f"{extra[0]!r} is not in the network"
        raise WeightsError(f"{path}: belongs to another network: key {key}")
    for name, tensor in stored.items():
        if tensor.shape != wanted[name].shape:
            raise WeightsError(f"{path}: {name!r} has shape {tuple(tensor.shape)}")
    module.load_state_dict({name: tensor.float() for name, tensor in stored.items()})
