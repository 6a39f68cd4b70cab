"""The engine as an outlier detector of scikit-learn: ``fit`` on good parts, ``predict`` +1 for good and -1 for anomalous.

Needs scikit-learn 1.6 or newer, which the package does not install.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils.validation import check_is_fitted

from . import ArgumentError, Engine, Scorer
from ._pictures import is_one

__all__ = ["AnomalyDetector"]


class AnomalyDetector(OutlierMixin, BaseEstimator):  # type: ignore[misc]
    """Few-shot anomaly detection as an estimator.

    Samples are images: a list of paths, arrays and pictures, or an array of shape (n, rows, columns) or (n, rows, columns, 3) of
    uint8, or of uint16 for grey. With ``image_shape`` samples are rows of a table instead, shape (n, features), each an image of
    that shape, of which one side may be -1; values are rounded to pixels, and lie from 0 to 255, which is otherwise warned of.

    Parameters
    ----------
    weights : path of the model's safetensors file; without one the small model for examples, which is of no help on real images.
    method, class_name, fit_mode, options : as the ``method``, ``class_name``, ``fit`` and options of ``Engine.build_bank``.
    device, threads : as of ``Engine``.
    max_false_reject : share of good parts that may come out as -1. With n images no share below 1 / (n + 1) can be promised: the
        one that is kept is ``max_false_reject_``.
    white_level : the largest value of 16-bit pictures that hold fewer bits.
    image_shape : shape of a sample where samples are rows of a table.

    Attributes
    ----------
    bank_ : the bank, with the thresholds of the images that it was fitted on, each judged by the others.
    offset_ : the lowest score that still is a good part's: ``decision_function`` is ``score_samples`` less it.
    max_false_reject_ : the share of good parts that is rejected at most, approximately.
    """

    def __init__(
        self,
        weights: Any = None,
        *,
        method: str | None = None,
        class_name: str | None = None,
        fit_mode: str | None = None,
        options: dict[str, Any] | None = None,
        device: str = "auto",
        threads: int | None = None,
        max_false_reject: float = 0.05,
        white_level: int | None = None,
        image_shape: tuple[int, ...] | None = None,
    ) -> None:
        self.weights = weights
        self.method = method
        self.class_name = class_name
        self.fit_mode = fit_mode
        self.options = options
        self.device = device
        self.threads = threads
        self.max_false_reject = max_false_reject
        self.white_level = white_level
        self.image_shape = image_shape

    def fit(self, X: Any, y: Any = None) -> AnomalyDetector:
        """Builds the bank of good parts and its thresholds; ``y`` is ignored."""
        images = self._images(X, fitting=True)
        if len(images) < 2:
            raise ArgumentError(f"n_samples = {len(images)}: at least 2 images of good parts are needed, to judge each by the others")
        engine = self._open()
        bank = engine.build_bank(
            images,
            method=self.method,
            class_name=self.class_name,
            fit=self.fit_mode,
            white_level=self.white_level,
            **(self.options or {}),
        )
        different = len(set(bank.prompt_hashes))
        # The engine keeps six decimals of a share.
        least = numpy.ceil(1e6 / (different + 1)) / 1e6
        self.max_false_reject_ = float(max(self.max_false_reject, least))
        if self.max_false_reject_ > self.max_false_reject:
            warnings.warn(
                f"{different} different images cannot promise max_false_reject={self.max_false_reject}: it is "
                f"{self.max_false_reject_:.4g}",
                stacklevel=2,
            )
        self.bank_ = engine.calibrate(
            bank, images, max_false_reject=self.max_false_reject_, white_level=self.white_level
        )
        limits = self.bank_.thresholds
        assert limits is not None, "a calibrated bank has limits"
        # The largest score that is not rejected: scikit-learn counts 0 as good, a threshold is past when it is reached.
        self.offset_ = -float(numpy.nextafter(numpy.float32(limits["reject"]), numpy.float32(-numpy.inf)))
        self._scorer = engine.scorer(self.bank_)
        return self

    def score_samples(self, X: Any) -> numpy.ndarray:
        """The scores with the sign turned: the lower, the more anomalous."""
        check_is_fitted(self, "bank_")
        scores = self._scorer_here().score_batch(self._images(X), white_level=self.white_level)
        return -numpy.array([score.pred_score for score in scores], dtype=numpy.float64)

    def decision_function(self, X: Any) -> numpy.ndarray:
        """``score_samples`` less the offset: what is below 0 is anomalous."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> numpy.ndarray:
        """+1 for good and -1 for anomalous."""
        return numpy.where(self.decision_function(X) >= 0, 1, -1)

    def _open(self) -> Engine:
        if self.weights is not None:
            return Engine(self.weights, device=self.device, threads=self.threads)
        import tempfile
        from pathlib import Path

        from . import demo_weights

        # The engine reads the file while it is open, which it keeps itself.
        self._folder = tempfile.TemporaryDirectory()
        path = Path(self._folder.name) / "demo.safetensors"
        path.write_bytes(demo_weights())
        return Engine(path, device=self.device, threads=self.threads)

    def _scorer_here(self) -> Scorer:
        """The scorer; after a pickle, made anew from the weights and the bank."""
        if getattr(self, "_scorer", None) is None:
            self._scorer = self._open().scorer(self.bank_)
        scorer: Scorer = self._scorer
        return scorer

    def _images(self, X: Any, *, fitting: bool = False) -> list[Any]:
        if self.image_shape is None:
            if is_one(X):
                raise ArgumentError("X is one picture: give a list of them, such as [picture]")
            return list(X)
        from sklearn.utils.validation import validate_data

        table = validate_data(self, X, reset=fitting, dtype=numpy.float64, ensure_min_samples=1)
        low, high = table.min(), table.max()
        if low < 0 or high > 255 or (high <= 1 and (table != numpy.rint(table)).any()):
            warnings.warn(
                f"the values of X lie from {low:.4g} to {high:.4g}, but pixels are whole numbers from 0, black, to 255, white: scale "
                "them; what is outside is cut off",
                stacklevel=3,
            )
        pixels = numpy.clip(numpy.rint(table), 0, 255).astype(numpy.uint8)
        try:
            return [row.reshape(self.image_shape) for row in pixels]
        except ValueError as error:
            raise ArgumentError(f"X has {table.shape[1]} features, which are no image of shape {self.image_shape}") from error

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())
        # Memory of this process; the bank goes along.
        state.pop("_scorer", None)
        state.pop("_folder", None)
        return state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        table = self.image_shape is not None
        tags.input_tags.two_d_array = table
        tags.input_tags.three_d_array = not table
        tags.no_validation = not table
        return tags
