"""``Detector``: photos and video in, a table of faces out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from featflow.errors import OptionError
from featflow.fex.meta import new_meta
from featflow.nodes import make_node
from featflow.runs import OnError, Run, RunOptions
from featflow.slots import (
    BF16_SLOTS,
    REFERENCE,
    SLOTS,
    batch_sizes,
    centring,
    checked_options,
    prepare,
    resolve_device,
)

if TYPE_CHECKING:
    import pandas as pd

    from featflow.extract.options import ExtractOptions
    from featflow.fex.table import Fex
    from featflow.flow.node import Node
    from featflow.identity.compute import Method
    from featflow.identity.naming import People
    from featflow.tuning import Profile


class Detector:
    """Finds faces and describes them.

    Every slot takes the name of a registered node (``featflow nodes`` lists them), a node of
    your own, or None to leave it out; columns of a slot that is left out are absent, and it costs
    nothing. All but masks are on; :meth:`only` takes those that you name.

    Example:
        >>> from featflow import Detector
        >>> from featflow.datasets import sample_photo
        >>> fex = Detector().detect(sample_photo(), progress_bar=False)
        >>> len(fex)
        1

    Args:
        face: finds boxes, scores and five points; None for a detector that only takes tables
            of faces (:meth:`detect_from`).
        landmark: gives 68 points.
        pose: gives the head's rotation and translation.
        mask: gives face masks. They are arrays, not columns: ``fex.mask(row)`` has them.
        au: gives action units.
        emotion: gives probabilities of seven emotions.
        identity: gives an embedding a face, from which people are told apart when all rows are
            there.
        gaze: gives the direction of the eyes.
        options: slot to arguments of its node, as in ``{"face": {"max_side": 1280}}``.
        extract: how faces are looked for, aligned and marked: a
            :class:`featflow.extract.ExtractOptions`, or a mapping of its fields, as in
            ``{"rotate": 90, "min_size": 0.05}``.
        compile: compile the networks with ``torch.compile``, at one batch size each; it takes
            minutes at first, and results differ by 1e-4 at most, see ``docs/tuning.md``.
        profile: batch sizes found by ``featflow profile``: its file, or a
            :class:`featflow.tuning.Profile`.
        weights: node id to a weight file of your own, for published nodes.
        commercial_ok: refuse nodes whose licence or data do not allow commercial use.
        device: ``"cpu"``, ``"cuda"``, ``"mps"``, a torch device, or ``"auto"`` for the fastest
            that is there.
        identity_gallery: enrolled people (:func:`featflow.identity.enroll`), or their file, to
            name faces after; without them people are ``Person_1``, ``Person_2``, ...
        identity_threshold: cosine similarity from which two faces are one person; that of the
            identity node if None.
        identity_method: how people without names are told apart, see
            :func:`featflow.identity.compute_identities`; None gives embeddings without labels.
        identity_track: let the faces of a track vote for one label; if None, in clips.
        wanted, unwanted: people whose faces are kept, or marked in ``Keep``; galleries or files.
        mode: ``"threads"`` overlaps decoding and inference; ``"sequential"`` runs everything in
            the caller's thread, for debugging; both give the same rows.

    Raises:
        UnknownNodeError: a name is not registered; the message lists those that are.
        UnmetNeedsError: a node requires what no other slot provides.
        OptionError: an option is unknown or out of range.
    """

    def __init__(
        self,
        face: str | Node | type[Node] | None = "tiny",
        landmark: str | Node | type[Node] | None = "tiny",
        pose: str | Node | type[Node] | None = "mlp",
        mask: str | Node | type[Node] | None = None,
        au: str | Node | type[Node] | None = "tiny",
        emotion: str | Node | type[Node] | None = "tiny",
        identity: str | Node | type[Node] | None = "tiny",
        gaze: str | Node | type[Node] | None = "tiny",
        *,
        options: Mapping[str, Mapping[str, Any]] | None = None,
        extract: ExtractOptions | Mapping[str, Any] | None = None,
        compile: bool = False,
        profile: str | Path | Profile | None = None,
        weights: Mapping[str, str | Path] | None = None,
        commercial_ok: bool = False,
        device: str = "auto",
        identity_gallery: People | None = None,
        identity_threshold: float | None = None,
        identity_method: Method | None = "gallery",
        identity_track: bool | None = None,
        wanted: People | None = None,
        unwanted: People | None = None,
        mode: Literal["threads", "sequential"] = "threads",
    ) -> None:
        from featflow.extract.options import ExtractOptions
        from featflow.flow.graph import order_nodes
        from featflow.identity.naming import naming_for

        slots = dict(
            zip(SLOTS, (face, landmark, pose, mask, au, emotion, identity, gaze), strict=True)
        )
        options = checked_options(options, slots)
        nodes: dict[str, Node] = {
            slot: make_node(slot, spec, options.get(slot))
            for slot, spec in slots.items()
            if spec is not None
        }
        if mode not in ("threads", "sequential"):
            raise OptionError(f"mode is 'threads' or 'sequential', got {mode!r}")
        prepare(nodes.values(), weights or {}, commercial_ok)
        self.extract = ExtractOptions.of(extract)
        self.nodes: dict[str, Node] = self.extract.wrap(nodes)
        if "face" in self.nodes:
            order_nodes(list(self.nodes.values()))
        self.naming = naming_for(
            self.nodes.get("identity"),
            threshold=identity_threshold,
            method=identity_method,
            track=identity_track,
            people=identity_gallery,
            wanted=wanted,
            unwanted=unwanted,
        )
        self.mode: Literal["threads", "sequential"] = mode
        self.device = resolve_device(device)
        self.compile = compile
        self.batch_sizes = batch_sizes(profile, self.nodes, self.device)

    @classmethod
    def only(cls, **arguments: Any) -> Detector:
        """A detector of the slots that are named, and no others.

        Example:
            >>> from featflow import Detector
            >>> Detector.only(face="tiny", landmark="tiny", device="cpu")
            Detector(face=tiny, landmark=tiny, device=cpu)

        Args:
            arguments: those of :class:`Detector`; slots that are not among them are None.
        """
        return cls(**{**dict.fromkeys(SLOTS), **arguments})

    @classmethod
    def reference(
        cls,
        *,
        preprocessing: Literal["trained", "reference"] = "trained",
        bf16: bool = False,
        **rest: Any,
    ) -> Detector:
        """The published networks that py-feat 2.0.3 runs by default (:data:`REFERENCE`).

        Args:
            preprocessing: ``"trained"`` feeds the networks what they were trained on,
                ``"reference"`` what py-feat 2.0.3 feeds them, for its numbers.
            bf16: let the networks that bear it (emotion, identity, gaze) compute in bfloat16.
            **rest: what else :class:`Detector` takes (``weights``, ``commercial_ok``, ``device``,
                ``compile``, ``mode``, ...), but not slots and their options.
        """
        options: dict[str, dict[str, Any]] = {
            slot: {"preprocessing": preprocessing} for slot in REFERENCE
        }
        for slot in BF16_SLOTS if bf16 else ():
            options[slot]["bf16"] = True
        published: dict[str, Any] = dict(REFERENCE)
        return cls(**published, options=options, **rest)

    def __repr__(self) -> str:
        inside = ", ".join(f"{slot}={node.name}" for slot, node in self.nodes.items())
        return f"Detector({inside}, device={self.device})"

    def __enter__(self) -> Detector:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of loaded weights; the detector can still be used and loads them again."""
        for node in self.nodes.values():
            node.unload()

    def detect(
        self,
        inputs: Any,
        batch_size: int | None = None,
        num_workers: int = 0,
        face_detection_threshold: float = 0.5,
        skip_frames: int | None = None,
        output_size: int | None = None,
        save: str | Path | None = None,
        resume: bool = False,
        on_error: OnError = "raise",
        progress_bar: bool = True,
        *,
        start: float | None = None,
        stop: float | None = None,
    ) -> Fex:
        """Detect faces in photos, clips, arrays, or any mix of them.

        Args:
            inputs: a path, folder, glob, PIL image, array (H, W, 3) uint8 RGB, torch tensor, a
                list that mixes these, or a generator of frames.
            batch_size: frames at a time; 8 where you do not say. Rows do not depend on it.
            num_workers: processes that decode; 0 decodes in a thread of this one.
            face_detection_threshold: least score of a face, 0..1, inclusive.
            skip_frames: take every n-th frame of clips.
            output_size: bound on the longer side of the working picture; coordinates in the
                table are original pixels all the same.
            save: file to write as the run goes on (.csv, .parquet, .feather or .json).
            resume: go on with an interrupted run that wrote to ``save``.
            on_error: an input that cannot be read ``"raise"``-s, becomes a ``"row"`` with
                ``Keep`` False and the reason, or is left out (``"skip"``).
            progress_bar: show frames a second and time left.
            start, stop: part of clips to read, seconds, ``start <= time < stop``.

        Returns:
            One row a face; a frame without a face is one row with NaN and score 0.

        Raises:
            InputError: under ``on_error="raise"``; rows that were finished before it are in the
                error's ``rows``.
            OptionError: an argument is out of range.
            OutputError: ``save`` cannot be written.
            ResumeError: the interrupted run had other options or inputs.
        """
        run = self.run(
            inputs,
            RunOptions(
                batch_size=batch_size,
                num_workers=num_workers,
                face_detection_threshold=face_detection_threshold,
                skip_frames=skip_frames,
                output_size=output_size,
                start=start,
                stop=stop,
                on_error=on_error,
            ),
        )
        return run.table(save=save, resume=resume, progress_bar=progress_bar)

    def iter_detect(
        self,
        inputs: Any,
        batch_size: int | None = None,
        num_workers: int = 0,
        face_detection_threshold: float = 0.5,
        skip_frames: int | None = None,
        output_size: int | None = None,
        on_error: OnError = "raise",
        *,
        start: float | None = None,
        stop: float | None = None,
    ) -> Iterator[Fex]:
        """Detect faces in input that may never end, one table a batch.

        Arguments are those of :meth:`detect`. Leaving the iterator early ends everything that
        runs behind it.

        Yields:
            Rows of the next frames, in order.
        """
        run = self.run(
            inputs,
            RunOptions(
                batch_size=batch_size,
                num_workers=num_workers,
                face_detection_threshold=face_detection_threshold,
                skip_frames=skip_frames,
                output_size=output_size,
                start=start,
                stop=stop,
                on_error=on_error,
                live=True,
            ),
        )
        return run.tables()

    def run(self, inputs: Any, options: RunOptions) -> Run:
        """A run over inputs, not yet begun, for those who want its pieces or its report."""
        if "face" not in self.nodes:
            raise OptionError(
                "this detector has no face node (face=None), so it takes tables of faces alone: "
                "use detect_from(table)"
            )
        self.load()
        return Run(
            list(self.nodes.values()),
            inputs,
            options,
            self.meta(),
            self.mode,
            self.batch_sizes,
            self.naming,
        )

    def detect_from(
        self,
        table: pd.DataFrame | str | Path,
        batch_size: int | None = None,
        on_error: OnError = "raise",
        save: str | Path | None = None,
        progress_bar: bool = True,
        *,
        pictures: Mapping[str, Any] | None = None,
    ) -> Fex:
        """Run the nodes on faces that a table holds already.

        The rows take the place of detection, and their landmarks and other columns that of the
        nodes that this detector does not have. Make it with ``face=None``. Pictures are read
        again only where a node looks at them. See :class:`featflow.tables.TableRun`.

        Args:
            table: faces, a file that holds them, or a folder of aligned faces that
                :func:`featflow.extract.export_faces` wrote; then nodes see these, and the
                pictures that they were cut from are not needed.
            batch_size: frames at a time; 8 where you do not say.
            on_error: a picture that cannot be read again ``"raise"``-s, or its rows are marked
                and have nothing new (``"row"``), or are left out (``"skip"``).
            save: file to write.
            progress_bar: show frames a second and time left.
            pictures: where inputs are now, if not where the table says: value of ``input`` to a
                path or an array.

        Returns:
            The same rows, in the same order, with all their columns; those that the nodes make
            are added or replaced.

        Raises:
            OptionError: this detector finds faces itself, or an argument is out of range.
            UnmetNeedsError: a node requires what neither the table nor another node provides.
            InputError: under ``on_error="raise"``: a picture cannot be read, or is not the one
                that the table was made of.
            SchemaError: the table lacks columns that say where its faces are.
        """
        from featflow.tables import TableRun

        options = RunOptions(batch_size=batch_size, on_error=on_error)
        run = TableRun(self, table, options, pictures or {})
        return run.table(save=save, progress_bar=progress_bar)

    def load(self) -> None:
        """Read the weights of all nodes; a run does so itself.

        Raises:
            WeightsError: weights are not here and cannot be fetched, or are not the node's.
            CompileError: a network cannot be compiled.
        """
        for node in self.nodes.values():
            node.load(self.device)
        if self.compile:
            from featflow.tuning import compile_node

            for node in self.nodes.values():
                compile_node(node, self.batch_sizes.get(node.id))

    def meta(self) -> dict[str, Any]:
        """Which nodes and weights this detector runs, as it is recorded with every table."""
        nodes = {slot: node.id for slot, node in self.nodes.items()}
        weights = {node.id: node.weights_hash() for node in self.nodes.values()}
        extract = self.extract.recorded()
        options = {"extract": extract} if extract else {}
        meta = new_meta(nodes, {k: v for k, v in weights.items() if v}, options)
        if "mask" in self.nodes:
            meta["mask"] = {"centring": centring(self.nodes["mask"])}
        return meta
