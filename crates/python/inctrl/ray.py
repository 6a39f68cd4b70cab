"""Scoring with Ray Data: a class for ``map_batches``, of which each actor has an engine.

    rows = ray.data.read_binary_files(folder, include_paths=True).map_batches(
        inctrl.ray.Scorer, fn_constructor_kwargs={"weights": weights, "bank": bank}, concurrency=4, num_cpus=2, batch_size=16)

Needs Ray, which the package does not install. ``docs/fleet.md`` says how to size it.
"""

from __future__ import annotations

import json
import os
from typing import Any

import numpy

from . import Bank, Engine, Error, Score, __version__

__all__ = ["Scorer", "columns"]


def columns(bank: Bank) -> list[str]:
    """The columns that a row has beside those that are handed on, in their order."""
    numbers = [*bank.outputs, "width", "height", "verdict", "reason", "regions", "p_value", "scaled"]
    return [*numbers, "error", "model", "bank", "version"]


class Scorer:
    """Scores batches of rows: ``map_batches`` makes one for each actor.

    A batch has pictures in the column ``bytes`` (files, as ``read_binary_files`` gives them) or ``image`` (arrays, as ``read_images``
    does); other columns are handed on. Each row gets the numbers of its score, and says which model, bank and version it is of. A
    picture that cannot be scored costs its own row the numbers: ``error`` says why, and the verdict is "review", never "pass".

    A row depends on its picture alone, so that a batch that an actor died over, and that another one scores again, is the same bits.
    Engines are opened in the actor, with as many threads as Ray gave it processors.
    """

    def __init__(
        self,
        weights: str | os.PathLike[str],
        bank: Bank | str | os.PathLike[str],
        *,
        device: str = "auto",
        threads: int | None = None,
        capacity: int = 1,
        white_level: int | None = None,
        format: str | None = None,
    ) -> None:
        self._engine = Engine(weights, device=device, threads=threads or _own_processors())
        self._bank = bank if isinstance(bank, Bank) else Bank.open(bank)
        self._scorer = self._engine.scorer(self._bank, capacity=capacity)
        self._how: dict[str, Any] = {"white_level": white_level, "format": format}

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        column = "bytes" if "bytes" in batch else "image"
        rows = [self._row(picture) for picture in batch[column]]
        table = {name: values for name, values in batch.items() if name != column}
        for name in columns(self._bank):
            values = [row[name] for row in rows]
            if name in _TEXTS:
                table[name] = numpy.array(values, dtype=object)
            elif name in ("width", "height"):
                table[name] = numpy.array(values, dtype=numpy.int32)
            else:
                # Nothing is NaN in a column of numbers: every row has the type that the column has.
                table[name] = numpy.array([numpy.nan if value is None else value for value in values], dtype=numpy.float64)
        return table

    def _row(self, picture: Any) -> dict[str, Any]:
        row: dict[str, Any] = dict.fromkeys(columns(self._bank))
        row.update(model=self._engine.model_hash, bank=self._bank.id, version=__version__, error="", regions="[]")
        row.update(width=0, height=0, verdict="", reason="")
        try:
            score = self._scorer.score(picture, **self._how)
        except (Error, TypeError) as error:
            row.update(error=str(error), verdict="review", reason="error")
            return row
        row.update(score.outputs)
        row.update(width=score.size[0], height=score.size[1], verdict=score.verdict or "", reason=score.reason or "")
        row.update(regions=_regions(score), p_value=score.p_value, scaled=score.scaled)
        return row


#: Columns of words.
_TEXTS = {"verdict", "reason", "regions", "error", "model", "bank", "version"}


def _regions(score: Score) -> str:
    """The regions as the rows of the command line have them."""
    names = ("x", "y", "width", "height", "area", "peak")
    return json.dumps([{name: getattr(region, name) for name in names} for region in score.regions])


def _own_processors() -> int:
    """How many processors Ray set apart for this actor; all of its share where that is less than one."""
    import ray

    assigned = ray.get_runtime_context().get_assigned_resources().get("CPU", 1)
    return max(1, int(assigned))
