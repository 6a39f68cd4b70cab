"""A small CLIP in plain PyTorch, on a dictionary of tensors with open_clip's names, which is what inctrl reads.

Differs from the usual modules in one thing: `encode_image` also takes crops of the image, with the position of each in the
whole, so that training can look at a part in a fifth of the time.
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from open_clip.tokenizer import tokenize

CONFIG = json.loads(Path(__file__).with_name("demo.json").read_text())
_VISION, _TEXT = CONFIG["vision_cfg"], CONFIG["text_cfg"]
SIDE, PATCH = _VISION["image_size"], _VISION["patch_size"]
GRID = SIDE // PATCH
WIDTH, LAYERS, HEADS = _VISION["width"], _VISION["layers"], _VISION["width"] // _VISION["head_width"]
EMBED = CONFIG["embed_dim"]
TEXT_WIDTH, TEXT_LAYERS, TEXT_HEADS = _TEXT["width"], _TEXT["layers"], _TEXT["heads"]
CONTEXT, VOCABULARY = _TEXT["context_length"], _TEXT["vocab_size"]
TAPS = CONFIG["inctrl"]["taps"]
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def random_weights(seed):
    """Fresh weights. Blocks start near the identity: with unit gains six of them do not learn in a thousand steps."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}

    def normal(name, *shape, std):
        weights[name] = torch.randn(*shape, generator=generator) * std

    def norm(name, width):
        weights[f"{name}.weight"], weights[f"{name}.bias"] = torch.ones(width), torch.zeros(width)

    def linear(name, outputs, inputs, gain, separator="."):
        normal(f"{name}{separator}weight", outputs, inputs, std=gain * inputs**-0.5)
        weights[f"{name}{separator}bias"] = torch.zeros(outputs)

    def blocks(prefix, width, layers):
        for layer in range(layers):
            block = f"{prefix}transformer.resblocks.{layer}"
            norm(f"{block}.ln_1", width)
            norm(f"{block}.ln_2", width)
            linear(f"{block}.attn.in_proj", 3 * width, width, 0.4, "_")
            linear(f"{block}.attn.out_proj", width, width, 0.4)
            linear(f"{block}.mlp.c_fc", 4 * width, width, 0.8)
            linear(f"{block}.mlp.c_proj", width, 4 * width, 0.4)

    normal("visual.conv1.weight", WIDTH, 3, PATCH, PATCH, std=(3 * PATCH * PATCH) ** -0.5)
    normal("visual.class_embedding", WIDTH, std=0.02)
    normal("visual.positional_embedding", 1 + GRID * GRID, WIDTH, std=0.02)
    norm("visual.ln_pre", WIDTH)
    blocks("visual.", WIDTH, LAYERS)
    norm("visual.ln_post", WIDTH)
    normal("visual.proj", WIDTH, EMBED, std=WIDTH**-0.5)
    normal("token_embedding.weight", VOCABULARY, TEXT_WIDTH, std=0.02)
    normal("positional_embedding", CONTEXT, TEXT_WIDTH, std=0.01)
    blocks("", TEXT_WIDTH, TEXT_LAYERS)
    norm("ln_final", TEXT_WIDTH)
    normal("text_projection", TEXT_WIDTH, EMBED, std=TEXT_WIDTH**-0.5)
    return weights


def layer_norm(x, weights, name):
    return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-5)


def block(x, weights, name, heads, causal=False):
    """A pre-norm transformer block; x is [batch, tokens, width]."""
    batch, tokens, width = x.shape
    normed = layer_norm(x, weights, f"{name}.ln_1")
    qkv = F.linear(normed, weights[f"{name}.attn.in_proj_weight"], weights[f"{name}.attn.in_proj_bias"])
    q, k, v = qkv.view(batch, tokens, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    # For so few tokens plain products are faster, backward above all, than PyTorch's fused attention on a CPU.
    logits = q @ k.transpose(-1, -2) * (width // heads) ** -0.5
    if causal:
        logits = logits + torch.full((tokens, tokens), -torch.inf).triu(1)
    seen = (logits.softmax(-1) @ v).transpose(1, 2).reshape(batch, tokens, width)
    x = x + F.linear(seen, weights[f"{name}.attn.out_proj.weight"], weights[f"{name}.attn.out_proj.bias"])
    hidden = F.linear(layer_norm(x, weights, f"{name}.ln_2"), weights[f"{name}.mlp.c_fc.weight"], weights[f"{name}.mlp.c_fc.bias"])
    return x + F.linear(F.gelu(hidden), weights[f"{name}.mlp.c_proj.weight"], weights[f"{name}.mlp.c_proj.bias"])


def normalised(pixels):
    """uint8 [batch, side, side, 3] to float [batch, 3, side, side] with CLIP's mean and deviation."""
    x = pixels.permute(0, 3, 1, 2).float() / 255
    return (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def encode_image(images, weights, rows=None, columns=None):
    """Images [batch, 3, s, s] with s a multiple of 16 to unit class embeddings [batch, 128] and taps, 3 of [batch, n, 192].

    `rows` and `columns` are the place of each crop in the grid of patches; without them the images are whole."""
    x = F.conv2d(images, weights["visual.conv1.weight"], stride=PATCH)
    size = x.shape[-1]
    x = x.flatten(2).transpose(1, 2)
    embedding = weights["visual.positional_embedding"]
    if rows is None:
        position = embedding[None, 1:]
    else:
        grid = embedding[1:].view(GRID, GRID, WIDTH)
        crops = [grid[r : r + size, c : c + size].reshape(size * size, WIDTH) for r, c in zip(rows, columns)]
        position = torch.stack(crops)
    first = (weights["visual.class_embedding"] + embedding[0]).expand(len(x), 1, -1)
    x = layer_norm(torch.cat([first, x + position], 1), weights, "visual.ln_pre")
    taps = []
    for layer in range(LAYERS):
        x = block(x, weights, f"visual.transformer.resblocks.{layer}", HEADS)
        if layer + 1 in TAPS:
            taps.append(x[:, 1:])
    embedding = layer_norm(x[:, 0], weights, "visual.ln_post") @ weights["visual.proj"]
    return F.normalize(embedding, dim=-1), taps


def encode_text(texts, weights):
    """Unit embeddings [texts, 128]."""
    tokens = tokenize(texts)
    ends = tokens.argmax(-1)
    tokens = tokens[:, : int(ends.max()) + 1]
    x = F.embedding(tokens, weights["token_embedding.weight"]) + weights["positional_embedding"][: tokens.shape[1]]
    for layer in range(TEXT_LAYERS):
        x = block(x, weights, f"transformer.resblocks.{layer}", TEXT_HEADS, causal=True)
    pooled = layer_norm(x, weights, "ln_final")[torch.arange(len(tokens)), ends]
    return F.normalize(pooled @ weights["text_projection"], dim=-1)


def residuals(taps, prompts, queries):
    """Equations 1 and 2 within each episode: taps are [episodes * (prompts + queries), n, width]; the prompts of an episode
    come first. Returns a list of [episodes, queries, n], one per tap, and their mean last."""
    maps = []
    for tap in taps:
        n, width = tap.shape[1:]
        unit = F.normalize(tap, dim=-1).view(-1, prompts + queries, n, width)
        bank = unit[:, :prompts].reshape(-1, prompts * n, width)
        query = unit[:, prompts:].reshape(-1, queries * n, width)
        nearest = (query @ bank.transpose(1, 2)).amax(-1).view(-1, queries, n)
        maps.append(0.5 * (1 - nearest))
    return [*maps, sum(maps) / len(maps)]
