"""What the tests share: the small model, a bank of procedural parts, arrays."""

from __future__ import annotations

import inctrl
import numpy
import pytest

SIDE = 96


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "demo.safetensors"
    path.write_bytes(inctrl.demo_weights())
    return path


TINY = """{"embed_dim": 32, "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16},
 "text_cfg": {"width": 32, "heads": 2, "layers": 1}, "inctrl": {"taps": [1, 2]}}"""


def write_tiny_model(folder):
    """A random model of another kind, which scores in no time."""
    config, path = folder / "tiny.json", folder / "tiny.safetensors"
    config.write_text(TINY)
    assert inctrl.run_cli(["inctrl", "weights", "random", "--config", str(config), "-o", str(path)]) == 0
    return path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def engine(weights):
    return inctrl.Engine(weights, device="cpu", threads=2)


@pytest.fixture(scope="session")
def family():
    return next(name for name, defects in inctrl.synth_families().items() if "hole" in defects)


@pytest.fixture(scope="session")
def good(family):
    """Ten good parts, RGB."""
    return [inctrl.synth_sample(family, side=SIDE, index=i)[0] for i in range(10)]


@pytest.fixture(scope="session")
def bad(family):
    return inctrl.synth_sample(family, defect="hole", severity="large", side=SIDE, index=20)[0]


@pytest.fixture(scope="session")
def bank(engine, good):
    return engine.build_bank(good[:4], class_name="label")


@pytest.fixture
def scorer(engine, bank):
    return engine.scorer(bank)


def same(a, b):
    """Whether two scores are the same to the last bit."""
    return (
        a.outputs == b.outputs
        and a.placement == b.placement
        and a.size == b.size
        and numpy.array_equal(a.anomaly_map, b.anomaly_map)
        and (a.verdict, a.reason, a.regions, a.bank) == (b.verdict, b.reason, b.regions, b.bank)
    )
