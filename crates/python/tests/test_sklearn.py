"""The estimator of scikit-learn."""

from __future__ import annotations

import pathlib
import pickle
import tempfile

import inctrl
import numpy
import pytest
from conftest import write_tiny_model

pytest.importorskip("sklearn", minversion="1.6")

from inctrl.sklearn import AnomalyDetector  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402


def test_it_fits_good_parts_and_predicts(good, bad, weights):
    detector = AnomalyDetector(weights, class_name="label", device="cpu", max_false_reject=0.2)
    assert detector.fit(good[:6]) is detector and detector.max_false_reject_ == 0.2
    scores = detector.score_samples([*good[6:], bad])
    assert scores.shape == (5,) and scores[-1] == scores.min()
    assert detector.predict([bad]).tolist() == [-1]
    assert set(detector.predict(numpy.stack(good))) <= {1, -1} and (detector.predict(good[:6]) == 1).all()
    assert numpy.array_equal(detector.decision_function([bad]), detector.score_samples([bad]) - detector.offset_)
    engine = inctrl.Engine(weights, device="cpu")
    assert scores[-1] == -engine.scorer(detector.bank_).score(bad).pred_score
    again = pickle.loads(pickle.dumps(detector))
    assert numpy.array_equal(again.score_samples([bad]), scores[-1:])


def test_few_images_promise_what_they_can(good, weights):
    with pytest.warns(UserWarning, match="3 different images cannot promise"):
        detector = AnomalyDetector(weights, device="cpu").fit(good[:3])
    assert detector.max_false_reject_ == 0.25
    with pytest.raises(ValueError, match="at least 2"):
        AnomalyDetector(weights, device="cpu").fit(good[:1])


def test_one_picture_is_no_list_of_samples(good):
    detector = AnomalyDetector(TINY, device="cpu", max_false_reject=0.2)
    with pytest.raises(inctrl.ArgumentError, match=r"one picture.*\[picture\]"):
        detector.fit(good[0])
    with pytest.raises(inctrl.ArgumentError, match="one picture"):
        detector.fit(good[:4]).predict(good[0])


def test_values_that_are_no_pixels_are_warned_of(good):
    rows = numpy.stack([part[..., 0].ravel() for part in good[:4]]).astype(float)
    detector = AnomalyDetector(TINY, device="cpu", image_shape=(96, 96), max_false_reject=0.2).fit(rows)
    for wrong, text in ((rows / 255, "from 0.* to (0|1)"), (rows * 257, r"from .* to .*e\+04"), (rows - 300, "from -")):
        with pytest.warns(UserWarning, match="the values of X lie " + text):
            detector.predict(wrong)


def test_parameters_are_those_of_scikit_learn(good):
    detector = AnomalyDetector("W.safetensors", options={"rotations": 2}, max_false_reject=0.1)
    assert clone(detector).get_params() == detector.get_params()
    assert detector.set_params(threads=2).get_params()["threads"] == 2
    with pytest.raises(NotFittedError):
        detector.predict(good)


# Checks fit hundreds of samples, each judged by all others.
FOLDER = tempfile.TemporaryDirectory()
TINY = str(write_tiny_model(pathlib.Path(FOLDER.name)))


# A part that it was fitted on is good: it is in the bank, and nothing is nearer to it than itself.
FITTED_ARE_GOOD = "some samples of fit are to come out as anomalous, but all are good parts by definition"
EXPECTED = {"check_outliers_fit_predict": FITTED_ARE_GOOD, "check_outliers_train": FITTED_ARE_GOOD}


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(
    [AnomalyDetector(TINY, device="cpu", image_shape=(1, -1), threads=1)], expected_failed_checks=lambda _: EXPECTED
)
def test_the_checks_of_scikit_learn(estimator, check):
    check(estimator)
