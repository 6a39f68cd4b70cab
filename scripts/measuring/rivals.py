"""CLIP's visual tower alone in PyTorch (eager and compiled), ONNX Runtime and OpenVINO, on the weights of an inctrl file.

Each program is a function from images `[B, 3, S, S]` f32 to the class embeddings `[B, E]` and, for each tap, the tokens
`[B, 1 + N, W]`: the values that InCTRL reads from the tower.
"""

import json

import numpy as np
import torch
from safetensors import safe_open
from torch import nn
from torch.nn import functional as F

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


class Block(nn.Module):
    def __init__(self, width, heads, gelu, epsilon=1e-5):
        super().__init__()
        self.heads, self.gelu = heads, gelu
        self.ln_1, self.ln_2 = nn.LayerNorm(width, eps=epsilon), nn.LayerNorm(width, eps=epsilon)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.c_fc, self.c_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        batch, tokens, width = x.shape
        qkv = self.qkv(self.ln_1(x)).reshape(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, tokens, width)
        return self.mlp(x + self.out(y))

    def class_token(self, x):
        """The first token of what `forward` returns, `[B, 1, W]`."""
        batch, tokens, width = x.shape
        normed = self.ln_1(x)
        q = F.linear(normed[:, :1], self.qkv.weight[:width], self.qkv.bias[:width])
        kv = F.linear(normed, self.qkv.weight[width:], self.qkv.bias[width:])
        q = q.reshape(batch, 1, self.heads, width // self.heads).transpose(1, 2)
        k, v = kv.reshape(batch, tokens, 2, self.heads, width // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, 1, width)
        return self.mlp(x[:, :1] + self.out(y))

    def mlp(self, x):
        return x + self.c_proj(self.gelu(self.c_fc(self.ln_2(x))))


class Tower(nn.Module):
    """The visual tower, returning what InCTRL reads: the class embedding and the residual stream at the taps.

    `trimmed`: of the last block only the class token is computed, unless it is tapped.
    """

    def __init__(self, weights, trimmed=False):
        super().__init__()
        with safe_open(weights, "pt") as file:
            config = json.loads(file.metadata()["inctrl.config"])
            vision = config["vision_cfg"]
            tensors = {k[7:]: file.get_tensor(k).float() for k in file.keys() if k.startswith("visual.")}
        self.size, self.taps = vision["image_size"], config["inctrl"]["taps"]
        self.trimmed = trimmed and vision["layers"] not in self.taps
        width = vision["width"]
        gelu = (lambda x: x * torch.sigmoid(1.702 * x)) if config["quick_gelu"] else F.gelu
        self.conv1 = nn.Conv2d(3, width, vision["patch_size"], vision["patch_size"], bias=False)
        self.class_embedding = nn.Parameter(tensors["class_embedding"])
        self.positional_embedding = nn.Parameter(tensors["positional_embedding"])
        self.proj = nn.Parameter(tensors["proj"])
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.blocks = nn.ModuleList(Block(width, width // vision["head_width"], gelu) for _ in range(vision["layers"]))
        renamed = {}
        for name, tensor in tensors.items():
            name = name.replace("transformer.resblocks.", "blocks.").replace("attn.in_proj_", "qkv.")
            renamed[name.replace("attn.out_proj", "out").replace("mlp.", "")] = tensor
        self.load_state_dict(renamed)
        self.eval()

    def forward(self, image):
        x = self.conv1(image).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(x.shape[0], 1, -1), x], 1) + self.positional_embedding
        x, taps = self.ln_pre(x), []
        for number, block in enumerate(self.blocks, 1):
            x = block.class_token(x) if self.trimmed and number == len(self.blocks) else block(x)
            if number in self.taps:
                taps.append(x)
        return self.ln_post(x[:, 0]) @ self.proj, *taps


def onnx_file(tower, images, path):
    """The tower for batches of just this size, which leaves a runtime nothing to find out at run time."""
    example = (torch.from_numpy(images),)
    torch.onnx.export(tower, example, path, input_names=["image"], dynamo=True, external_data=True, verbose=False)
    return path


def pytorch(tower, _path, _threads):
    def run(images):
        with torch.inference_mode():
            return [y.numpy() for y in tower(torch.from_numpy(images))]

    return run


def torch_compile(tower, _path, _threads):
    import torch._inductor.config

    # Weights become constants of the compiled code, laid out once: the fastest that it has for inference.
    torch._inductor.config.freezing = True
    compiled = torch.compile(tower, dynamic=False)

    def run(images):
        with torch.no_grad():
            return [y.numpy() for y in compiled(torch.from_numpy(images))]

    return run


def onnxruntime(_tower, path, threads):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {session.get_inputs()[0].name: images})


def openvino(_tower, model, threads, precision="f32"):
    """`model` is a file or a model in memory, `precision` the hint for what is not quantised."""
    import openvino as ov

    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
    compiled = ov.Core().compile_model(model, "CPU", settings)
    request = compiled.create_infer_request()

    def run(images):
        result = request.infer([images])
        return [result[output] for output in compiled.outputs]

    return run


RIVALS = {"pytorch": pytorch, "torch.compile": torch_compile, "onnxruntime": onnxruntime, "openvino": openvino}
FROM_ONNX = {"onnxruntime", "openvino"}


def version(name):
    module = "torch" if name in ("pytorch", "torch.compile") else name
    return __import__(module).__version__.split("-")[0]


def normalised(pixels, size):
    """A grey picture `[height, width]` as the tower's input `[3, S, S]`, resized as the published code does."""
    from PIL import Image

    image = Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC).convert("RGB")
    return ((np.asarray(image, np.float32) / 255 - MEAN) / STD).transpose(2, 0, 1)


def scored(outputs, bank):
    """text_prior and patch_max of each image, equations 1, 2 and 6 in f64 from a tower's outputs and a bank file."""
    with safe_open(bank, "np") as file:
        prototypes = file.get_tensor("text_prototypes").astype(np.float64)
        prompts = file.get_tensor("taps").astype(np.float64)
    unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)  # noqa: E731
    embedding, *taps = (np.asarray(output, np.float64) for output in outputs)
    logits = 100 * unit(embedding) @ prototypes.T
    prior = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    residual = 0
    for tap, prompt in zip(taps, prompts, strict=True):
        cosine = unit(tap[:, 1:]) @ prompt.reshape(-1, prompt.shape[-1]).T
        residual = residual + 0.5 * (1 - cosine.max(-1)) / len(taps)
    return prior, residual.max(-1)
