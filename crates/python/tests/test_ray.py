"""Ray Data with several worker processes on this machine: the same table whatever happens to them."""

from __future__ import annotations

import os
import pathlib
import runpy
import signal
import sys

import numpy
import pytest

# No figures about this run go anywhere.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
ray = pytest.importorskip("ray", reason="SKIP: Ray is not installed")
pytest.importorskip("ray.data", reason="SKIP: Ray Data is not installed")
image = pytest.importorskip("PIL.Image")
pandas = pytest.importorskip("pandas")
parquet = pytest.importorskip("pyarrow.parquet")

import inctrl  # noqa: E402
import inctrl.ray  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
EXAMPLE = pathlib.Path(__file__).resolve().parents[3] / "examples/python/fleet.py"

# Workers do not find this file.
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])


class DiesOnce(inctrl.ray.Scorer):
    """Ends its process in the middle of its first batch, once of all actors, as a machine that goes down does."""

    def __init__(self, *arguments, flag, **keywords):
        super().__init__(*arguments, **keywords)
        self.flag = pathlib.Path(flag)

    def _one(self, picture):
        row = super()._one(picture)
        try:
            self.flag.touch(exist_ok=False)
        except FileExistsError:
            return row
        os.kill(os.getpid(), signal.SIGKILL)


class Says(inctrl.ray.Scorer):
    """How its engine runs, in a column."""

    def __call__(self, batch):
        table = super().__call__(batch)
        rows = len(table["score"])
        return {**table, "process": numpy.full(rows, os.getpid()), "runs": numpy.array([self._engine.device] * rows)}


@pytest.fixture(scope="module")
def cluster():
    # Three actors, and one processor for reading.
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, configure_logging=False, _node_ip_address="127.0.0.1")
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, good, bad):
    """Forty files, three of which are no pictures."""
    folder = tmp_path_factory.mktemp("incoming")
    for i in range(40):
        if i % 15 == 7:
            (folder / f"{i:02}.png").write_bytes(b"\x89PNG\r\n\x1a\n torn" if i < 30 else b"")
        else:
            image.fromarray(numpy.roll(bad if i % 5 == 0 else good[i % 10], i, axis=1)).save(folder / f"{i:02}.png")
    return folder


@pytest.fixture(scope="module")
def limits(bank):
    return bank.with_thresholds(review=0.1, reject=0.2, cell=0.05)


def scored(folder, scorer, actors, weights, bank, cpus=1, **keywords):
    pictures = ray.data.read_binary_files(str(folder), include_paths=True, override_num_blocks=10)
    return pictures.map_batches(
        scorer,
        fn_constructor_kwargs={"weights": str(weights), "bank": bank, "device": "cpu", **keywords},
        compute=ray.data.ActorPoolStrategy(size=actors),
        num_cpus=cpus,
        batch_size=3,
    )


def sorted_by_path(table):
    return table.sort_values("path", ignore_index=True)


@pytest.fixture(scope="module")
def alone(cluster, folder, weights, limits):
    """The table of one actor."""
    return sorted_by_path(scored(folder, inctrl.ray.Scorer, 1, weights, limits).to_pandas())


def test_the_table_is_that_of_one_process(alone, folder, engine, limits):
    assert len(alone) == 40 and list(alone.columns) == ["path", *inctrl.ray.columns(limits)]
    broken, whole = alone[alone.error != ""], alone[alone.error == ""]
    assert [pathlib.Path(path).name for path in broken.path] == ["07.png", "22.png", "37.png"]
    assert set(broken.verdict) == {"review"} and numpy.isnan(broken.score.to_numpy(float)).all() and "empty" in broken.error.iloc[2]
    assert set(whole.bank) == {limits.id} and set(whole.model) == {engine.model_hash}
    own = [engine.scorer(limits).score(path) for path in whole.path]
    assert whole.score.tolist() == [score.pred_score for score in own]
    assert whole.verdict.tolist() == [score.verdict for score in own]


def test_the_table_is_the_same_for_any_number_of_workers(alone, folder, weights, limits):
    again = sorted_by_path(scored(folder, inctrl.ray.Scorer, 3, weights, limits, threads=2, capacity=3).to_pandas())
    # NaN is equal to NaN here, and nothing is nearly equal to anything.
    pandas.testing.assert_frame_equal(alone, again, check_exact=True)


def test_the_table_is_the_same_when_a_worker_is_killed(alone, folder, weights, limits, tmp_path):
    died = tmp_path / "died"
    again = sorted_by_path(scored(folder, DiesOnce, 2, weights, limits, flag=str(died)).to_pandas())
    assert died.exists()
    pandas.testing.assert_frame_equal(alone, again, check_exact=True)


def test_actors_have_as_many_threads_as_processors(cluster, folder, weights, limits):
    for cpus, actors, runs in ((2, 1, "2 threads"), (0.5, 2, "1 thread")):
        table = scored(folder, Says, actors, weights, limits, cpus=cpus).to_pandas()
        assert {text.rsplit(", ", 1)[1] for text in table.runs} == {runs}
        assert os.getpid() not in set(table.process)


def test_what_fails_for_all_ends_the_job_in_words(cluster, folder, weights, limits, tmp_path):
    with pytest.raises(ray.exceptions.RayError, match="gone.safetensors: .*No such file"):
        scored(folder, inctrl.ray.Scorer, 1, tmp_path / "gone.safetensors", limits).to_pandas()


def test_the_example_writes_rows_and_a_report(alone, folder, weights, limits, tmp_path, monkeypatch, capsys):
    if not EXAMPLE.exists():
        pytest.skip("the examples are not beside the tests")
    limits.save(tmp_path / "label.bank")
    arguments = [str(EXAMPLE), str(weights), str(tmp_path / "label.bank"), str(folder), str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", arguments)
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    rows = parquet.read_table(tmp_path / "out/rows")
    # Texts of Arrow have another class in each of the two; their types are below.
    pandas.testing.assert_frame_equal(alone, sorted_by_path(rows.to_pandas()), check_exact=True, check_dtype=False)
    kinds = {field.name: str(field.type) for field in rows.schema}
    assert kinds["score"] == "double" and kinds["width"] == "int32" and kinds["library"] == kinds["error"] == "string"
    text = (tmp_path / "out/report.md").read_text()
    assert "40 pictures" in text and "## 3 could not be scored" in text and "07.png" in text
    assert f"- bank: {limits.id}\n" in text and f"- library: {alone.library[0]}" in text and "differ" not in text
    assert alone.path[alone.score.idxmax()] in text and text in capsys.readouterr().out
    with pytest.raises(SystemExit):
        runpy.run_path(str(EXAMPLE), run_name="__main__")
    assert "is not empty" in capsys.readouterr().err
