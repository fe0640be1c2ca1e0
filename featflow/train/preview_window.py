"""A live window of previews, where there is a display; nothing else imports a GUI toolkit.

``python -m featflow.train.preview_window runs/faces/previews/preview.png`` follows a sheet of a run
that another process trains.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featflow.errors import FeatflowError, ImageError, MissingExtraError, MissingInputError
from featflow.train.callbacks import Callback
from featflow.train.preview import Preview, PreviewBuffer

if TYPE_CHECKING:
    from featflow.train.trainer import Trainer

_PAUSE_S = 0.1


class Window:
    """A picture and the key that was pressed last.

    Raises:
        MissingExtraError: there is no display, or no tkinter; the message says which.
    """

    def __init__(self, title: str) -> None:
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
        self._root.title(title)
        self._root.protocol("WM_DELETE_WINDOW", lambda: self.press("q"))
        self._root.bind("<Key>", lambda event: self.press(event.char.lower()))
        self._pressed = ""

    def press(self, key: str) -> None:
        """Remember a key, as the window does when one is pressed."""
        self._pressed = key

    def update(self) -> str:
        """Serve the window, and return the key that was pressed since, or nothing."""
        self._root.update()
        pressed, self._pressed = self._pressed, ""
        return pressed

    def show(self, picture: Any) -> None:
        """Show a picture, a PIL image."""
        from PIL import ImageTk

        shown = ImageTk.PhotoImage(picture)
        self._label.configure(image=shown, text="")
        self._label.image = shown  # tkinter keeps no reference of its own

    def close(self) -> None:
        """Close the window."""
        self._root.destroy()


class PreviewWindow(Callback):
    """Shows the newest sheet.

    R draws one of the present weights, M lays the mask over it or takes it off, S saves a
    checkpoint, Q or closing the window ends the run.

    Args:
        buffer: where sheets come from.

    Raises:
        MissingExtraError: there is no display, or no tkinter; the message says which.
    """

    def __init__(self, buffer: PreviewBuffer) -> None:
        self._window = Window("featflow train: R draw, M mask, S save, Q end")
        self._buffer = buffer
        self._shown = 0.0

    def on_step(self, trainer: Trainer, terms: Mapping[str, float]) -> None:
        """Serve the window now and then."""
        if time.monotonic() - self._shown < _PAUSE_S:
            return
        self._shown = time.monotonic()
        if self._buffer.is_updated:
            from PIL import Image

            self._window.show(Image.fromarray(self._buffer.get_images()["preview"]))
        pressed = self._window.update()
        if pressed == "s":
            trainer.save()
        elif pressed == "q":
            trainer.stop("the preview window was closed")
        elif pressed in ("r", "m"):
            for preview in trainer.callbacks:
                if isinstance(preview, Preview):
                    preview.show_mask ^= pressed == "m"
                    preview.draw(trainer)

    def on_end(self, trainer: Trainer) -> None:
        """Close the window."""
        self._window.close()


def watch(path: Path) -> None:
    """Show a picture, and show it anew whenever its file changes, until Q is pressed.

    Raises:
        MissingExtraError: there is no display, or no tkinter.
        MissingInputError: there is no such file.
        ImageError: it is no picture.
    """
    from PIL import Image

    if not path.is_file():
        raise MissingInputError(str(path), "no such picture")
    window, seen = Window(path.name), 0
    try:
        while window.update() != "q":
            changed = path.stat().st_mtime_ns if path.is_file() else seen
            if changed != seen:
                with Image.open(path) as picture:
                    window.show(picture.convert("RGB"))
                seen = changed
            time.sleep(_PAUSE_S)
    except OSError as error:
        raise ImageError(str(path), f"cannot be shown: {error}") from error
    finally:
        window.close()


def main(arguments: Sequence[str]) -> int:
    """``python -m featflow.train.preview_window PICTURE``; returns the exit code."""
    try:
        if len(arguments) != 1:
            raise MissingInputError("PICTURE", "give the path of one picture")
        watch(Path(arguments[0]))
    except FeatflowError as error:
        sys.stderr.write(f"featflow: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
