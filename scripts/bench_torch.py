"""Times PyTorch on the work that `inctrl bench` times: the same vision tower, half precision, the same GPU, the same run.

Eager, then torch.compile(mode="reduce-overhead"), which replays CUDA graphs; and the nearest-neighbour search unfused, as a
product and a maximum. Each result is written at once, because compiling may take longer than the time limit. The weights are
random: speed does not depend on them. Needs PyTorch with CUDA. The model is timm's `vit_base_patch16_plus_clip_240` if timm is
installed, otherwise the same blocks written here.
"""

import argparse
import json
import os
import statistics
import time

import torch
from torch import nn

WIDTH, HEADS, LAYERS, PATCH, SIZE, EMBED = 896, 14, 12, 16, 240, 640


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

    def forward(self, x):
        b, n, _ = x.shape
        q, k, v = self.qkv(self.ln_1(x)).view(b, n, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.out(y.transpose(1, 2).reshape(b, n, WIDTH))
        return x + self.mlp(self.ln_2(x))


class Tower(nn.Module):
    """CLIP's ViT-B/16+ at 240 pixels: class embedding only, as an encoder alone would be used."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, WIDTH, PATCH, PATCH, bias=False)
        self.cls = nn.Parameter(torch.randn(WIDTH) * 0.02)
        self.position = nn.Parameter(torch.randn((SIZE // PATCH) ** 2 + 1, WIDTH) * 0.02)
        self.ln_pre, self.ln_post = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.blocks = nn.Sequential(*[Block() for _ in range(LAYERS)])
        self.projection = nn.Linear(WIDTH, EMBED, bias=False)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], 1, -1), x], 1) + self.position
        return self.projection(self.ln_post(self.blocks(self.ln_pre(x))[:, 0]))


def timm_tower():
    try:
        import timm

        return timm.create_model("vit_base_patch16_plus_clip_240", pretrained=False), f"timm {timm.__version__}"
    except Exception as error:  # noqa: BLE001 - any reason not to have it is the same to us
        return None, str(error)


def quantiles(call, seconds=1.5):
    """Milliseconds from the call to the result in host memory."""
    for _ in range(20):
        call()
    times, began = [], time.perf_counter()
    while time.perf_counter() - began < seconds and len(times) < 3000:
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    times.sort()
    pick = lambda q: times[min(len(times) - 1, int(q * len(times)))]
    return {"count": len(times), "p50": statistics.median(times), "p99": pick(0.99), "max": times[-1]}


def encoder(model, batch):
    host = torch.randn(batch, 3, SIZE, SIZE, dtype=torch.float16).pin_memory()

    def call():
        with torch.inference_mode():
            return model(host.to("cuda", non_blocking=True)).float().cpu()

    found = quantiles(call)
    found["images_per_second"] = 1e3 * batch / found["p50"]
    return found


def nearest(prompts, batch=1, taps=3, patches=225):
    """Unfused: a product per tap, then a maximum; device time."""
    unit = lambda rows: nn.functional.normalize(torch.randn(taps, rows, WIDTH, device="cuda"), dim=-1).half()
    query, bank = unit(batch * patches), unit(prompts * patches)
    call = lambda: torch.bmm(query, bank.transpose(1, 2)).amax(-1)
    for _ in range(5):
        call()
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(100):
        call()
    end.record()
    torch.cuda.synchronize()
    return 10.0 * start.elapsed_time(end)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", required=True)
    parser.add_argument("--batches", default="1,8,64")
    args = parser.parse_args()
    torch.manual_seed(0)
    batches = [int(b) for b in args.batches.split(",")]
    report = {"torch": torch.__version__, "cuda": torch.version.cuda, "gpu": torch.cuda.get_device_name(), "encoder_ms": {}}
    other, about = timm_tower()
    report["timm"] = about
    name, model = ("timm", other) if other else ("blocks", Tower())
    model = model.eval().half().cuda()

    def write():
        with open(args.json + ".partial", "w") as out:
            json.dump(report, out, indent=1)
        os.replace(args.json + ".partial", args.json)

    def measure(run, mode, batch):
        report["encoder_ms"][f"{name} {mode} {batch}"] = found = encoder(run, batch)
        print(name, mode, batch, found, flush=True)
        write()

    for batch in batches:
        measure(model, "eager", batch)
    report["nearest_us"] = {f"{k} prompts, {b} images": nearest(k, b) for k, b in [(8, 1), (256, 1), (8, 64)]}
    write()
    for batch in batches:
        # Each batch size is compiled anew: one program for all would be compared at none of them.
        torch._dynamo.reset()
        measure(torch.compile(model, mode="reduce-overhead", dynamic=False), "reduce-overhead", batch)


if __name__ == "__main__":
    main()
