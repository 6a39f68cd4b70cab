"""Ray Data with several worker processes on this machine: the same table whatever happens to them."""

from __future__ import annotations

import os
import pathlib
import signal

import inctrl
import numpy
import pytest

ray = pytest.importorskip("ray", reason="SKIP: Ray is not installed")
pytest.importorskip("ray.data", reason="SKIP: Ray Data is not installed")
image = pytest.importorskip("PIL.Image")
pandas = pytest.importorskip("pandas")

import inctrl.ray  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


class DiesOnce(inctrl.ray.Scorer):
    """The first batch of all ends its process, as a machine that goes down does."""

    def __init__(self, *arguments, flag, **keywords):
        super().__init__(*arguments, **keywords)
        self.flag = pathlib.Path(flag)

    def __call__(self, batch):
        try:
            self.flag.touch(exist_ok=False)
        except FileExistsError:
            return super().__call__(batch)
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def cluster():
    # Three actors, and one processor for reading.
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, configure_logging=False)
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


def score(folder, scorer, actors, weights, bank, **keywords):
    pictures = ray.data.read_binary_files(str(folder), include_paths=True, override_num_blocks=10)
    rows = pictures.map_batches(
        scorer,
        fn_constructor_kwargs={"weights": str(weights), "bank": bank, "device": "cpu", **keywords},
        concurrency=actors,
        num_cpus=1,
        batch_size=3,
    )
    return rows.to_pandas().sort_values("path", ignore_index=True)


def test_the_table_is_the_same_for_any_number_of_workers(cluster, folder, weights, engine, good, tmp_path):
    bank = engine.build_bank(good[:4], class_name="label").with_thresholds(review=0.1, reject=0.2, cell=0.05)
    alone = score(folder, inctrl.ray.Scorer, 1, weights, bank)
    assert len(alone) == 40 and list(alone.columns) == ["path", *inctrl.ray.columns(bank)]
    for scorer, actors, keywords in (
        (inctrl.ray.Scorer, 3, {"threads": 2, "capacity": 3}),
        (DiesOnce, 2, {"flag": str(tmp_path / "died")}),
    ):
        again = score(folder, scorer, actors, weights, bank, **keywords)
        # NaN is equal to NaN here, and nothing is nearly equal to anything.
        pandas.testing.assert_frame_equal(alone, again, check_exact=True, obj=scorer.__name__)
    assert (tmp_path / "died").exists()
    broken = alone[alone.error != ""]
    assert [pathlib.Path(path).name for path in broken.path] == ["07.png", "22.png", "37.png"]
    assert set(broken.verdict) == {"review"} and broken.score.isna().all() and "empty" in broken.error.iloc[2]
    whole = alone[alone.error == ""]
    assert not whole.score.isna().any() and set(whole.bank) == {bank.id} and set(whole.model) == {engine.model_hash}
    own = engine.scorer(bank).score(whole.path.iloc[0])
    assert own.pred_score == whole.score.iloc[0] and own.verdict == whole.verdict.iloc[0]
