"""Scoring with Ray Data: a class for ``map_batches``, of which each actor has an engine.

    rows = ray.data.read_binary_files(folder, include_paths=True).map_batches(
        inctrl.ray.Scorer, fn_constructor_kwargs={"weights": weights, "bank": bank},
        compute=ray.data.ActorPoolStrategy(size=4), num_cpus=2, batch_size=16)

Needs Ray, which the package does not install. ``docs/fleet.md`` says how to size it.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import re
import warnings
from typing import Any

import numpy

from . import ArgumentError, Bank, DeviceError, Engine, Error, InternalError, Score, __version__, _inctrl

__all__ = ["Scorer", "columns"]

#: Columns that may hold pictures: files in memory, arrays, and files on a disk that every machine has.
_PICTURES = ("bytes", "image", "path")
#: Columns of words.
_TEXTS = {"verdict", "reason", "regions", "warning", "error", "model", "bank", "device", "version", "library"}


def columns(bank: Bank) -> list[str]:
    """The columns that a row has beside those that are handed on, in their order."""
    numbers = [*bank.outputs, "width", "height", "verdict", "reason", "regions", "p_value", "scaled"]
    return [*numbers, "warning", "error", "model", "bank", "device", "version", "library"]


class Scorer:
    """Scores batches of rows: ``map_batches`` makes one for each actor.

    A batch has pictures in the column ``bytes`` (files, as ``read_binary_files`` gives them), ``image`` (arrays, as ``read_images``
    does) or ``path`` (files that the actor reads itself), the first of these that there is. Pictures in memory are left out of the
    result, and other columns are handed on. Each row gets the numbers of its score, and says which model, bank, kind of device,
    version and library (a hash of its module) it is of. A picture that cannot be scored costs its own row the numbers: ``error``
    says why, and the verdict is "review", never "pass". What fails for every picture, such as a device that is lost, is an
    exception.

    A row depends on its picture alone, so that a batch that an actor died over, and that another one scores again, is the same bits.
    Engines are opened in the actor, with as many threads as Ray gave it processors.

    ``weights``, ``heads``, ``config``, ``device``, ``threads`` and ``precision`` are as of ``Engine``, ``capacity`` as of
    ``Engine.scorer``, ``white_level`` and ``format`` as of ``Scorer.score``.
    """

    def __init__(
        self,
        weights: str | os.PathLike[str],
        bank: Bank | str | os.PathLike[str],
        *,
        heads: str | os.PathLike[str] | None = None,
        config: str | os.PathLike[str] | None = None,
        device: str = "auto",
        threads: int | None = None,
        precision: str | None = None,
        capacity: int = 1,
        white_level: int | None = None,
        format: str | None = None,
    ) -> None:
        threads = _own_processors() if threads is None else threads
        self._engine = Engine(
            weights, heads=heads, config=config, device=device, threads=threads, precision=precision
        )
        self._bank = bank if isinstance(bank, Bank) else Bank.open(bank)
        self._capacity = capacity
        self._scorer = self._engine.scorer(self._bank, capacity=capacity)
        self._how: dict[str, Any] = {"white_level": white_level, "format": format}
        self._identity = {
            "model": self._engine.model_hash,
            "bank": self._bank.id,
            # Scores do not depend on the number of threads.
            "device": re.sub(r", \d+ threads?$", "", self._engine.device),
            "version": __version__,
            "library": _library(),
        }
        # A wrong format or white level is an error here: met with a picture, it would pass for that picture's fault.
        self._scorer.score_batch([], **self._how)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        column = next((name for name in _PICTURES if name in batch), None)
        if column is None:
            raise ArgumentError(f"the batch has the columns {sorted(batch)}: pictures are in one of {list(_PICTURES)}")
        kept = {name: values for name, values in batch.items() if name != column or name == "path"}
        names = columns(self._bank)
        if taken := sorted(set(names) & set(kept)):
            raise ArgumentError(f"the batch has the columns {taken} already, which a score fills: drop or rename them")
        pictures = list(batch[column])
        rows: list[dict[str, Any]] = []
        with warnings.catch_warnings():
            # They are in the column "warning".
            warnings.simplefilter("ignore", UserWarning)
            for first in range(0, len(pictures), self._capacity):
                rows += self._rows(pictures[first : first + self._capacity])
        return {**kept, **{name: _column(name, [row[name] for row in rows]) for name in names}}

    def _rows(self, pictures: list[Any]) -> list[dict[str, Any]]:
        """The rows of at most as many pictures as are scored together."""
        if len(pictures) > 1:
            try:
                scores = self._scorer.score_batch(pictures, **self._how)
                return [self._row(score) for score in scores]
            except _OF_A_PICTURE:
                # Which of them it is shows one by one.
                pass
        return [self._one(picture) for picture in pictures]

    def _one(self, picture: Any) -> dict[str, Any]:
        try:
            return self._row(self._scorer.score(picture, **self._how))
        except _OF_A_PICTURE as error:
            if isinstance(error, (DeviceError, InternalError)):
                # A picture that is too large for the memory leaves the device as it was; a device that is lost gives no scorer.
                self._scorer = self._engine.scorer(self._bank, capacity=self._capacity)
            failed = {"error": str(error) or type(error).__name__, "verdict": "review", "reason": "error"}
            return {**dict.fromkeys(columns(self._bank)), **self._identity, **failed}

    def _row(self, score: Score) -> dict[str, Any]:
        width, height = score.size
        return {
            **score.outputs,
            "width": width,
            "height": height,
            "verdict": score.verdict,
            "reason": score.reason,
            "regions": _regions(score),
            "p_value": score.p_value,
            "scaled": score.scaled,
            "warning": score.warning,
            "error": None,
            **self._identity,
        }


#: What a picture can be at fault for; ValueErrors are those of arrays that numpy does not take.
_OF_A_PICTURE = (Error, TypeError, ValueError)


def _column(name: str, values: list[Any]) -> numpy.ndarray:
    """A column of one type, whatever is missing in it and however many rows it has."""
    if name in _TEXTS:
        return numpy.array([("[]" if name == "regions" else "") if value is None else value for value in values], dtype=str)
    if name in ("width", "height"):
        return numpy.array([value or 0 for value in values], dtype=numpy.int32)
    return numpy.array([numpy.nan if value is None else value for value in values], dtype=numpy.float64)


def _regions(score: Score) -> str:
    """The regions as the rows of the command line have them."""
    names = ("x", "y", "width", "height", "area", "peak")
    return json.dumps([{name: getattr(region, name) for name in names} for region in score.regions])


def _library() -> str:
    """Hash of the module that computes, 16 hexadecimal digits."""
    return hashlib.sha256(pathlib.Path(_inctrl.__file__).read_bytes()).hexdigest()[:16]


def _own_processors() -> int:
    """How many processors Ray set apart for this actor; one where it has none, or a share of one."""
    import ray

    assigned = ray.get_runtime_context().get_assigned_resources().get("CPU", 1)
    return max(1, int(assigned))
