"""Scores a folder, or a bucket that Ray reads, on as many processes as there are, and writes a report.

    python examples/python/fleet.py W.safetensors nut.bank s3://bucket/line-7/ s3://bucket/line-7-scores/ --actors 8 --cpus 2

The output folder gets rows/ with Parquet files, a row for each picture, and report.md when all are scored. The weights are a path that
every machine has; the bank is sent along.
"""

import argparse
import os
import time

import inctrl
import inctrl.ray
import pyarrow.dataset
import pyarrow.fs
import ray

IDENTITY = ["model", "bank", "device", "version", "library"]


def location(text):
    """The file system and the path there of a folder, which may be a bucket's."""
    return pyarrow.fs.FileSystem.from_uri(text if "://" in text else os.path.abspath(text))


def table(frame):
    """A table of Markdown."""
    lines = [list(frame.columns), ["---"] * len(frame.columns), *frame.itertuples(index=False)]
    return "\n".join("| " + " | ".join(str(cell).replace("|", r"\|").replace("\n", " ") for cell in line) + " |" for line in lines)


def report(rows, score, seconds, options):
    """What came of it, as Markdown."""
    failed, doubtful = rows[rows.error != ""], rows[rows.warning != ""]
    parts = [
        "# Scores",
        f"{len(rows)} pictures of {options.pictures} in {seconds:.1f} s, {len(rows) / seconds:.1f} a second, "
        f"with {options.actors} actors of {options.cpus} CPUs and {options.gpus:g} GPUs.",
        "\n".join(f"- {name}: {', '.join(sorted(set(rows[name])))}" for name in IDENTITY),
    ]
    if any(rows[name].nunique() > 1 for name in IDENTITY):
        parts.append("**Rows differ in what they were scored by.** Their scores are equal only within the tolerances of docs/numerics.md.")
    verdicts = rows.replace({"verdict": {"": "no thresholds"}}).groupby(["verdict", "reason"]).size().reset_index(name="pictures")
    strangest = rows.nlargest(10, score)[["path", score, "verdict"]]
    parts += ["## Verdicts", table(verdicts), "## The strangest", table(strangest)]
    for title, some, column in (("could not be scored", failed, "error"), ("are in doubt", doubtful, "warning")):
        if len(some):
            parts += [f"## {len(some)} {title}", "The first ten:", table(some.sort_values("path").head(10)[["path", column]])]
    return "\n\n".join(parts) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("bank")
    parser.add_argument("pictures")
    parser.add_argument("output")
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--cpus", type=int, default=1, help="of each actor, which has as many threads")
    parser.add_argument("--gpus", type=float, default=0, help="of each actor")
    parser.add_argument("--white-level", type=int, help="the largest value of 16-bit pictures that hold fewer bits")
    options = parser.parse_args()

    files, folder = location(options.output)
    if files.get_file_info(pyarrow.fs.FileSelector(folder, allow_not_found=True)):
        parser.error(f"{options.output} is not empty: rows of two runs would be mixed")
    bank = inctrl.Bank.open(options.bank)
    begin = time.perf_counter()
    scored = ray.data.read_binary_files(options.pictures, include_paths=True).map_batches(
        inctrl.ray.Scorer,
        fn_constructor_kwargs={
            "weights": options.weights,
            "bank": bank,
            "device": "cuda" if options.gpus else "cpu",
            "capacity": 16 if options.gpus else 1,
            "white_level": options.white_level,
        },
        compute=ray.data.ActorPoolStrategy(size=options.actors),
        num_cpus=options.cpus,
        num_gpus=options.gpus or None,
        batch_size=16,
    )
    scored.write_parquet(f"{folder}/rows", filesystem=files)
    seconds = time.perf_counter() - begin

    score = next(iter(bank.outputs))
    rows = pyarrow.dataset.dataset(f"{folder}/rows", filesystem=files, format="parquet")
    names = ["path", score, "verdict", "reason", "warning", "error", *IDENTITY]
    text = report(rows.to_table(columns=names).to_pandas(), score, seconds, options)
    with files.open_output_stream(f"{folder}/report.md") as stream:
        stream.write(text.encode())
    print(text)


if __name__ == "__main__":
    main()
