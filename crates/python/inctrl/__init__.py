"""Few-shot anomaly detection: a handful of images of good parts in, scores and heat maps out.

>>> import inctrl
>>> engine = inctrl.Engine("W.safetensors")                                     # doctest: +SKIP
>>> bank = engine.build_bank("good/", method="anomaly-dino")                    # doctest: +SKIP
>>> scorer = engine.scorer(bank)                # one for each thread           # doctest: +SKIP
>>> scorer.score("incoming/7.png").pred_score                                   # doctest: +SKIP

Pictures are paths, arrays (grey or RGB, uint8, or grey uint16 with a white level), pictures of PIL, and whatever has
``__array_interface__``, ``__dlpack__`` or ``__cuda_array_interface__``. Nobody may write to an array while it is scored: the pixels
are read where they are, without the interpreter's lock.
"""

from __future__ import annotations

import json as _json
import os as _os
from collections.abc import Sequence as _Sequence
from typing import Any as _Any

from ._errors import (
    ArgumentError,
    BankError,
    ConfigError,
    DeviceError,
    Error,
    ImageError,
    InternalError,
    IoError,
    MissingFileError,
    NumericError,
    WeightsError,
)
from ._inctrl import __VERSION__ as __version__
from ._inctrl import (
    Bank,
    Engine,
    Region,
    Score,
    Scorer,
    demo_weights,
    run_cli,
    synth_dataset,
    synth_families,
    synth_sample,
)
from ._inctrl import evaluate as _evaluate

__all__ = [
    "ArgumentError",
    "Bank",
    "BankError",
    "ConfigError",
    "DeviceError",
    "Engine",
    "Error",
    "ImageError",
    "InternalError",
    "IoError",
    "MissingFileError",
    "NumericError",
    "Region",
    "Score",
    "Scorer",
    "WeightsError",
    "__version__",
    "demo_weights",
    "evaluate",
    "run_cli",
    "synth_dataset",
    "synth_families",
    "synth_sample",
]


def evaluate(
    engine: Engine,
    dataset: str | _os.PathLike[str],
    output: str | _os.PathLike[str],
    *,
    shots: _Sequence[int] = (2, 4, 8),
    runs: int = 3,
    seed: int = 0,
    layout: str = "auto",
    method: str | None = None,
    classes: _Sequence[str] = (),
    fit: str | None = None,
    mask_side: int = 256,
    prompts: str | _os.PathLike[str] | None = None,
    white_level: int | None = None,
    **options: _Any,
) -> dict[str, _Any]:
    """How good a method is on a data set, as ``inctrl eval`` does it.

    The report goes into the folder ``output``; the content of its ``results.json`` is returned. A run that was ended continues where
    it stopped when it is started again with the same arguments. Options of the method are keywords, such as ``size=448``.
    """
    text = _evaluate(
        engine,
        dataset,
        output,
        shots=list(shots),
        runs=runs,
        seed=seed,
        layout=layout,
        method=method,
        classes=list(classes),
        fit=fit,
        mask_side=mask_side,
        prompts=prompts,
        white_level=white_level,
        options=options,
    )
    results: dict[str, _Any] = _json.loads(text)
    return results
