"""What the wheel holds: types, the program, the laboratory."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import inctrl
import numpy
import pytest


def test_stubs_are_those_of_the_module():
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed")
    checked = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "inctrl._inctrl"], capture_output=True, text=True, cwd=os.path.expanduser("~")
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_package_passes_its_own_types(tmp_path):
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed")
    (tmp_path / "use.py").write_text(
        "import inctrl, numpy\n"
        "engine = inctrl.Engine('W.safetensors')\n"
        "bank: inctrl.Bank = engine.build_bank(['a.png', numpy.zeros((9, 9), numpy.uint8)], size=448)\n"
        "scores: list[inctrl.Score] = engine.scorer(bank).score_batch(['a.png'])\n"
        "score: float = scores[0].pred_score\n"
    )
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "use.py"], capture_output=True, text=True, cwd=tmp_path
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_package_is_typed_and_needs_numpy_alone():
    folder = pathlib.Path(inctrl.__file__).parent
    assert (folder / "py.typed").exists() and (folder / "_inctrl.pyi").exists()
    needed = [need for need in importlib.metadata.requires("inctrl") if "extra" not in need]
    assert [need.split(">")[0] for need in needed] == ["numpy"]
    assert importlib.metadata.version("inctrl") == inctrl.__version__


def test_the_wheel_has_the_licences_of_all_that_is_in_it():
    files = [file for file in importlib.metadata.files("inctrl") or [] if "licenses" in file.parts]
    texts = {file.name: file.read_text() for file in files}
    assert {"LICENSE-MIT", "LICENSE-APACHE", "THIRD-PARTY"} <= set(texts)
    assert "tokenizers" in texts["THIRD-PARTY"] and "pyo3" in texts["THIRD-PARTY"]


def test_all_names_are_there():
    for name in inctrl.__all__:
        assert getattr(inctrl, name) is not None, name
        assert name.startswith("_") or getattr(inctrl, name).__doc__, name


@pytest.mark.parametrize("program", [["inctrl"], [sys.executable, "-m", "inctrl"]])
def test_the_command_line_is_a_program(program):
    if program == ["inctrl"]:
        program = [str(pathlib.Path(sys.executable).parent / "inctrl")]
    version = subprocess.run([*program, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout == f"inctrl {inctrl.__version__}\n"
    wrong = subprocess.run([*program, "score"], capture_output=True, text=True)
    assert wrong.returncode == 1 and "required" in wrong.stderr
    some = subprocess.run([*program, "bank", "info", "none.bank"], capture_output=True, text=True)
    assert some.returncode == 1 and "none.bank" in some.stderr


def test_procedural_images_are_drawn_with_their_defects(family):
    image, mask = inctrl.synth_sample(family, defect="hole", severity="small", side=64, seed=3, index=1)
    clean, none = inctrl.synth_sample(family, side=64, seed=3, index=1)
    assert image.shape == (64, 64, 3) and mask.shape == (64, 64) and image.dtype == mask.dtype == numpy.uint8
    assert set(numpy.unique(mask)) == {0, 255} and not none.any()
    assert (image != clean).any(axis=2)[mask == 255].mean() > 0.9


def test_an_evaluation_is_run_and_goes_on(engine, tmp_path):
    data = tmp_path / "data"
    drawn = inctrl.synth_dataset(
        data, families=["gear"], products=1, normals=4, test_normals=2, defective=1, side=64
    )
    assert len(list(data.rglob("*.png"))) >= drawn
    results = inctrl.evaluate(engine, data, tmp_path / "out", shots=[2], runs=2, layout="mvtec")
    assert results["runs"] == 2 and results["method"] == "inctrl"
    assert results == json.loads((tmp_path / "out" / "results.json").read_text())
    assert inctrl.evaluate(engine, data, tmp_path / "out", shots=[2], runs=2, layout="mvtec") == results
    with pytest.raises(inctrl.ArgumentError):
        inctrl.evaluate(engine, data, tmp_path / "out", shots=[0])
    with pytest.raises(inctrl.ArgumentError, match="layout"):
        inctrl.evaluate(engine, data, tmp_path / "out", layout="coco")
