#!/usr/bin/env python3
"""Time and memory of `inctrl` on a folder of real images, with seeded random weights of real size.

    cargo build --release
    python scripts/measure_scoring.py --class "solar cell" --normals DATA/train/good --queries DATA/test --json OUT.json

Needs only Python's standard library. Times three processes: `bank build` with up to K normals (texts and prompts),
`score` of one image (start, load, one score) and `score` of all queries; memory is each process's peak resident size.
"""

import argparse
import json
import os
import platform
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inctrl", default=str(ROOT / "target/release/inctrl"))
    parser.add_argument("--arch", default="vit-b-16-plus-240")
    parser.add_argument("--class", dest="class_name", default="object")
    parser.add_argument("--normals", required=True)
    parser.add_argument("--queries", required=True)
    parser.add_argument("--shots", type=int, default=8)
    parser.add_argument("--data", default="", help="description of the images for the record")
    parser.add_argument("--json", required=True)
    args = parser.parse_args()

    def run(*words):
        start = time.perf_counter()
        with tempfile.TemporaryFile() as out:
            process = subprocess.Popen([args.inctrl, *words], stdout=out, stderr=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - start
            out.seek(0)
            rows = out.read().decode().splitlines()
        assert os.waitstatus_to_exitcode(status) == 0, f"{words[:2]} failed"
        return {"seconds": round(seconds, 2), "peak_mib": round(usage.ru_maxrss / 1024)}, rows

    def pictures(folder):
        return sorted(str(path) for path in Path(folder).rglob("*") if path.suffix.lower() in PICTURES)

    shared = os.path.commonpath([os.path.abspath(args.normals), os.path.abspath(args.queries)])
    below = lambda path: os.path.relpath(path, shared)  # noqa: E731

    with tempfile.TemporaryDirectory() as folder:
        weights, bank = f"{folder}/weights.safetensors", f"{folder}/prompts.bank"
        run("weights", "random", "--arch", args.arch, "--seed", "1", "-o", weights)
        size = os.path.getsize(weights)
        normals, queries = pictures(args.normals)[: args.shots], pictures(args.queries)
        build, _ = run("bank", "build", "--weights", weights, "--class", args.class_name, "--normals", *normals, "-o", bank)
        score = ["score", "--weights", weights, "--bank", bank, "--format", "jsonl"]
        first, _ = run(*score, queries[0])
        every, rows = run(*score, *queries)
        rows = [json.loads(row) for row in rows]
        assert len(rows) == len(queries) and all(row["error"] is None and 0 <= row["score"] <= 1 for row in rows)

    peak = max(part["peak_mib"] for part in (build, first, every))
    figures = {
        "what": "whole processes: bank build, score of one image, score of all images",
        "command": f'python scripts/measure_scoring.py --class "{args.class_name}" --normals DATA/{below(args.normals)} '
        f"--queries DATA/{below(args.queries)} --shots {args.shots} --json {args.json}",
        "data": args.data,
        "arch": args.arch,
        "weights_f32_mib": round(size / 2**20),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "prompts": len(normals),
        "images": len(queries),
        "bank_build": build,
        "score_one": first,
        "score_all": every,
        "ms_per_image": round((every["seconds"] - first["seconds"]) / (len(queries) - 1) * 1e3, 1),
        "peak_memory_over_f32_size": round(peak * 2**20 / size, 2),
    }
    Path(args.json).write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
