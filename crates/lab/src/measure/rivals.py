"""The rivals of `inctrl bench op`: one operation in another library, a turn for each line of standard input.

    rivals.py LIBRARY OPERATION SIZES DEVICE DTYPE THREADS      SIZES as JSON

Prints the library's version once its answer agrees with the formula in f64, then for each line, which holds the seconds
that a turn should take, the seconds of one call. What is wrong is one line on standard error, and status 1.
"""

import json
import sys
import time


class Missing(Exception):
    """The library, the operation or the device is not there."""


def torch_operation(name, s, device, dtype):
    """The operation, its formula in f64 on the same inputs, and how to wait for the device."""
    import torch
    import torch.nn.functional as F

    if device == "cuda" and not torch.cuda.is_available():
        raise Missing("torch finds no GPU")
    kind = getattr(torch, {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}[dtype])
    generator = torch.Generator().manual_seed(0)

    def numbers(*shape, dtype=kind):
        return (torch.rand(*shape, generator=generator) * 2 - 1).to(device=device, dtype=dtype)

    def unit(*shape):
        return F.normalize(numbers(*shape, dtype=torch.float32), dim=-1).to(kind)

    def call(function, *inputs):
        exact = [x.double() if torch.is_tensor(x) and x.is_floating_point() else x for x in inputs]
        return lambda: function(*inputs), lambda: function(*exact)

    def gelu(x):
        return x * torch.sigmoid(1.702 * x) if s.get("quick") else F.gelu(x)

    def heads(x, parts):
        return x.view(s["images"], -1, parts, s["heads"], s["head-width"]).permute(2, 0, 3, 1, 4)

    if name in ("linear", "linear_add", "linear_gelu"):
        x, w, b = numbers(s["rows"], s["inputs"]), numbers(s["outputs"], s["inputs"]), numbers(s["outputs"])
        w = w / s["inputs"] ** 0.5
        if name == "linear":
            return call(F.linear, x, w, b)
        if name == "linear_gelu":
            return call(lambda x, w, b: gelu(F.linear(x, w, b)), x, w, b)
        return call(lambda y, x, w, b: y + F.linear(x, w, b), numbers(s["rows"], s["outputs"]), x, w, b)
    if name == "gelu":
        return call(gelu, numbers(s["rows"], s["width"]) * 4)
    if name == "swiglu":

        def swiglu(x):
            a, b = x.chunk(2, dim=-1)
            return F.silu(a) * b

        return call(swiglu, numbers(s["rows"], 2 * s["width"]))
    if name == "layer_norm":
        width = s["width"]
        inputs = numbers(s["rows"], width), numbers(width), numbers(width)
        return call(lambda x, w, b: F.layer_norm(x, (width,), w, b, 1e-5), *inputs)
    if name == "attention":
        qkv = numbers(s["images"] * s["tokens"], 3 * s["heads"] * s["head-width"])
        causal = bool(s["causal"])
        return call(lambda x: F.scaled_dot_product_attention(*heads(x, 3), is_causal=causal), qkv)
    if name == "class_attention":
        width = s["heads"] * s["head-width"]
        q, kv = numbers(s["images"], width), numbers(s["images"] * s["tokens"], 2 * width)
        return call(lambda q, kv: F.scaled_dot_product_attention(heads(q, 1)[0], *heads(kv, 2)), q, kv)
    if name == "patch_nn":
        q, rows = unit(s["taps"], s["q"], s["width"]), unit(s["taps"], s["rows"], s["width"])
        return call(lambda q, rows: (q @ rows.transpose(1, 2)).amax(2), q, rows)
    if name == "mean_of_largest":
        count = max(1, s["cells"] // s["one-in"])
        return call(lambda x: x.topk(count, dim=1).values.mean(1), numbers(s["maps"], s["cells"]))
    if name == "residual_mean":
        return call(lambda x: (0.5 * (1 - x)).mean(0), numbers(s["taps"], s["cells"]))
    raise Missing(f"torch is no rival for {name}")


def torch_rival(name, s, device, dtype, threads):
    import torch

    torch.set_num_threads(threads)
    ours, exact = torch_operation(name, s, device, dtype)
    with torch.inference_mode():
        found, expected = ours().double(), exact()
        tolerance = {"f32": 1e-4, "f16": 2e-2, "bf16": 1e-1}[dtype] * max(1.0, expected.abs().max().item())
        if not (found - expected).abs().max().item() <= tolerance:
            raise Missing(f"torch's {name} differs from its formula")
        del found, expected, exact

    def run(calls):
        with torch.inference_mode():
            for _ in range(calls):
                ours()
            if device == "cuda":
                torch.cuda.synchronize()

    return run, torch.__version__


def faiss_rival(name, s, device, dtype, threads):
    if name != "patch_nn" or device != "cpu" or dtype != "f32":
        raise Missing(f"faiss is a rival for patch_nn on the processor in f32, not for {name} on {device} in {dtype}")
    if s["taps"] != 1:
        raise Missing("faiss searches one layer: give --taps 1")
    import faiss
    import numpy as np

    faiss.omp_set_num_threads(threads)
    random = np.random.default_rng(0)

    def unit(count):
        x = random.uniform(-1, 1, (count, s["width"])).astype(np.float32)
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    query, rows = unit(s["q"]), unit(s["rows"])
    index = faiss.IndexFlatIP(s["width"])
    index.add(rows)
    found = index.search(query[:3], 1)[0][:, 0]
    if not np.abs(found - (query[:3].astype(float) @ rows.astype(float).T).max(1)).max() <= 1e-5:
        raise Missing("faiss differs from the formula")

    def run(calls):
        for _ in range(calls):
            index.search(query, 1)

    return run, faiss.__version__


def main():
    library, name, sizes, device, dtype, threads = sys.argv[1:]
    try:
        rival = {"torch": torch_rival, "faiss": faiss_rival}[library]
        run, version = rival(name, json.loads(sizes), device, dtype, int(threads))
    except ImportError as error:
        sys.exit(f"{library} cannot be imported: {error}")
    except Missing as error:
        sys.exit(str(error))
    run(1)
    print(version, flush=True)
    calls = 1
    for line in sys.stdin:
        seconds = float(line)
        while True:
            start = time.perf_counter()
            run(calls)
            took = time.perf_counter() - start
            if took >= seconds or calls >= 1_000_000:
                break
            calls = max(calls + 1, int(calls * min(100.0, 1.2 * seconds / max(took, 1e-7))))
        print(took / calls, flush=True)


if __name__ == "__main__":
    main()
