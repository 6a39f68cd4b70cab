"""The notebook of the examples, cell by cell."""

from __future__ import annotations

import json
import os
import pathlib

import numpy
import pytest

NOTEBOOK = pathlib.Path(__file__).resolve().parents[3] / "examples/python/first_look.ipynb"


@pytest.mark.filterwarnings("ignore")
def test_the_notebook_runs_and_says_what_it_shows():
    if not NOTEBOOK.exists():
        pytest.skip("the examples are not beside the tests")
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    notebook = json.loads(NOTEBOOK.read_text())
    world: dict = {"__name__": "__main__"}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), world)
    # What its text claims.
    scores, defects = world["scores"], world["defects"]
    good, defective = scores[0].pred_score, [score.pred_score for score in scores[1:]]
    assert good < numpy.mean(defective) and defects[0] is None
    verdicts = [score.verdict for score in world["fresh"]]
    # A promise of 5 % over 60: more than 12 would come in less than 1 % of all draws.
    assert verdicts.count("reject") <= 12 and len(verdicts) == 60
    assert os.path.exists(world["weights"])
