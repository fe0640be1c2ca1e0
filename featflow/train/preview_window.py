"""A live window of previews, where there is a display; nothing else imports a GUI toolkit."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from featflow.errors import MissingExtraError
from featflow.train.callbacks import Callback
from featflow.train.preview import PreviewBuffer

if TYPE_CHECKING:
    from featflow.train.trainer import Trainer

_PAUSE_S = 0.1


class PreviewWindow(Callback):
    """Shows the newest sheet. S saves a checkpoint, Q or closing the window ends the run.

    Args:
        buffer: where sheets come from.

    Raises:
        MissingExtraError: there is no display, or no tkinter; the message says which.
    """

    def __init__(self, buffer: PreviewBuffer) -> None:
        try:
            import tkinter
        except ImportError as error:
            raise MissingExtraError("no preview window: Python has no tkinter here") from error
        try:
            self._root: Any = tkinter.Tk()
        except tkinter.TclError as error:
            raise MissingExtraError(f"no preview window: {error}") from error
        self._label: Any = tkinter.Label(self._root, text="The first preview comes with a save.")
        self._label.pack()
        self._root.title("featflow train")
        self._root.protocol("WM_DELETE_WINDOW", lambda: self._press("q"))
        self._root.bind("<Key>", lambda event: self._press(event.char.lower()))
        self._pressed = ""
        self._buffer = buffer
        self._shown = 0.0

    def _press(self, key: str) -> None:
        self._pressed = key

    def on_step(self, trainer: Trainer, terms: Mapping[str, float]) -> None:
        """Serve the window now and then."""
        if time.monotonic() - self._shown < _PAUSE_S:
            return
        self._shown = time.monotonic()
        if self._buffer.is_updated:
            self._show()
        self._root.update()
        pressed, self._pressed = self._pressed, ""
        if pressed == "s":
            trainer.save()
        elif pressed == "q":
            trainer.stop("the preview window was closed")

    def on_end(self, trainer: Trainer) -> None:
        """Close the window."""
        self._root.destroy()

    def _show(self) -> None:
        from PIL import Image, ImageTk

        picture = ImageTk.PhotoImage(Image.fromarray(self._buffer.get_images()["preview"]))
        self._label.configure(image=picture, text="")
        self._label.image = picture  # tkinter keeps no reference of its own
