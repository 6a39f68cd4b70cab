"""Scores a folder, or a bucket that Ray reads, on as many processes as there are, and says what came of it.

    python examples/python/fleet.py W.safetensors nut.bank s3://bucket/line-7/ out/ --actors 8 --cpus 2

out/ gets Parquet files with a row for each picture. The weights and the bank are paths that every machine has.
"""

import argparse
import time

import inctrl
import inctrl.ray
import ray

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("weights")
parser.add_argument("bank")
parser.add_argument("pictures")
parser.add_argument("output")
parser.add_argument("--actors", type=int, default=2)
parser.add_argument("--cpus", type=int, default=1, help="of each actor, which has as many threads")
parser.add_argument("--gpus", type=float, default=0, help="of each actor")
options = parser.parse_args()

bank = inctrl.Bank.open(options.bank)
begin = time.perf_counter()
rows = ray.data.read_binary_files(options.pictures, include_paths=True).map_batches(
    inctrl.ray.Scorer,
    fn_constructor_kwargs={"weights": options.weights, "bank": bank, "device": "cuda" if options.gpus else "cpu"},
    concurrency=options.actors,
    num_cpus=options.cpus,
    num_gpus=options.gpus or None,
    batch_size=16,
)
rows.write_parquet(options.output)
seconds = time.perf_counter() - begin

table = ray.data.read_parquet(options.output).to_pandas()
failed = table[table.error != ""]
print(f"{len(table)} pictures in {seconds:.1f} s, {len(table) / seconds:.1f} a second; bank {bank.id}, inctrl {inctrl.__version__}")
print(table.verdict.replace("", "no thresholds").value_counts().to_string(header=False))
print("\nthe strangest:")
print(table.nlargest(10, "score")[["path", "score", "verdict"]].to_string(index=False))
if len(failed):
    print(f"\n{len(failed)} could not be scored, the first ten:")
    print(failed.head(10)[["path", "error"]].to_string(index=False))
