"""AnomalyDINO here and in anomalib 2.7, on the same images and encoder: scores, time, memory, installed size.

    python -m venv theirs && theirs/bin/pip install anomalib==2.7.0
    python -m venv ours && ours/bin/pip install inctrl-*.whl
    ours/bin/python examples/python/against_anomalib.py --theirs theirs/bin/python

Without --good and --test images are drawn; without --weights (timm's state of vit_small_patch14_dinov2, a safetensors file) the encoder is
random, from a seed. Pictures that are squares of 518 pixels are not resized, and positions not interpolated: what is compared is
the method. Each side runs in a process of its own, one image a call.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

ENCODER, SIDE = "vit_small_patch14_dinov2", 518


def files(folder):
    return sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})


def ours(options):
    import inctrl

    engine = inctrl.Engine(options.weights, device="cpu", threads=options.threads)
    bank = engine.build_bank(options.good, method="anomaly-dino", size=SIDE, rotations=1, fit="stretch")
    scorer = engine.scorer(bank)
    return lambda path: scorer.score(path).pred_score


def theirs(options):
    import numpy as np
    import timm
    import torch
    from PIL import Image
    from safetensors.torch import load_file

    # The encoder of the file, and no download.
    create = timm.create_model
    timm.create_model = lambda name, **keywords: create(name, **{**keywords, "pretrained": False})
    from anomalib.models import AnomalyDINO

    torch.set_num_threads(options.threads)
    model = AnomalyDINO(encoder_name=ENCODER, num_neighbours=1, masking=False)
    model.model.feature_encoder.feature_extractor.load_state_dict(load_file(options.weights))
    transform = AnomalyDINO.configure_pre_processor((SIDE, SIDE)).transform

    def image(path):
        pixels = np.array(Image.open(path).convert("RGB"))
        return transform(torch.from_numpy(pixels).permute(2, 0, 1).float().div(255))[None]

    with torch.inference_mode():
        model.model.train()
        for path in files(options.good):
            model.model(image(path))
        model.model.fit()
        model.model.eval()

    def score(path):
        with torch.inference_mode():
            return float(model.model(image(path)).pred_score)

    return score


def measure(options):
    """What one side does with the folder, as JSON."""
    begin = time.perf_counter()
    score = {"ours": ours, "theirs": theirs}[options.side](options)
    ready = time.perf_counter() - begin
    paths = files(options.test)
    score(paths[0])
    scores, times = {}, []
    for path in paths:
        begin = time.perf_counter()
        scores[path.name] = score(path)
        times.append(time.perf_counter() - begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1024)
    site = Path(sysconfig.get_paths()["purelib"])
    installed = sum(file.stat().st_size for file in site.rglob("*") if file.is_file() and not file.is_symlink())
    said = {"scores": scores, "ms": 1e3 * statistics.median(times), "ready_s": ready, "peak_mb": peak, "installed_mb": installed / 1e6}
    print(json.dumps(said))


RANDOM = f"""
import sys, timm, torch
from safetensors.torch import save_file
torch.manual_seed(0)
model = timm.create_model("{ENCODER}", pretrained=False)
for name, tensor in model.named_parameters():
    if name.endswith("gamma"):
        torch.nn.init.uniform_(tensor, 0.1, 1.0)
save_file(model.state_dict(), sys.argv[1])
"""


def draw(folder):
    """Good parts and parts with defects, as files."""
    import inctrl
    from PIL import Image

    family = "keypad"
    defects = inctrl.synth_families()[family]
    for name, count in (("good", 8), ("test", 12)):
        (folder / name).mkdir()
        for i in range(count):
            defect = defects[i % len(defects)] if name == "test" and i % 2 else None
            pixels, _ = inctrl.synth_sample(family, defect=defect, severity="large", side=SIDE, index=i + 100 * (name == "test"))
            Image.fromarray(pixels).save(folder / name / f"{i:02}{'_' + defect if defect else ''}.png")
    return folder / "good", folder / "test"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--good", type=Path)
    parser.add_argument("--test", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--theirs", default=sys.executable, help="the interpreter that has anomalib")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--side", choices=["ours", "theirs"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        return measure(options)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        if options.good is None or options.test is None:
            options.good, options.test = draw(folder)
        if options.weights is None:
            options.weights = folder / "timm.safetensors"
            subprocess.run([options.theirs, "-c", RANDOM, options.weights], check=True)
        converted = folder / "dinov2.safetensors"
        subprocess.run([sys.executable, "-m", "inctrl", "convert", options.weights, "-o", converted], check=True)
        found = {}
        for side, python, weights in (("ours", sys.executable, converted), ("theirs", options.theirs, options.weights)):
            command = [python, __file__, "--side", side, "--good", options.good, "--test", options.test, "--weights", weights]
            run = subprocess.run([*map(str, command), "--threads", str(options.threads)], check=True, stdout=subprocess.PIPE, text=True)
            found[side] = json.loads(run.stdout.splitlines()[-1])
    print(f"{'':<24}{'inctrl':>12}{'anomalib':>12}")
    for name, words in (
        ("ms", "ms an image"),
        ("ready_s", "s until the bank is there"),
        ("peak_mb", "MB of memory at most"),
        ("installed_mb", "MB installed"),
    ):
        print(f"{words:<26}{found['ours'][name]:>10.1f}{found['theirs'][name]:>12.1f}")
    pairs = [(found["ours"]["scores"][name], found["theirs"]["scores"][name]) for name in found["ours"]["scores"]]
    print(f"largest difference of a score: {max(abs(a - b) for a, b in pairs):.2e}, scores from {min(pairs)[0]:.4f} to {max(pairs)[0]:.4f}")


if __name__ == "__main__":
    main()
