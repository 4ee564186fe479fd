"""PyTorch as an outside reference, on the CPU or, for bench/gpu, on CUDA. Driven by lines of JSON on stdin, see processes.mjs.

usage: pytorch.py THREADS [--device cpu|cuda] [--precision float32|tf32|amp]
"""

import argparse
import contextlib
import json
import os
import sys
import time

# What libraries print must not get between the answers.
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

import numpy as np
import torch
import torch.nn.functional as F

parser = argparse.ArgumentParser()
parser.add_argument("threads", type=int)
parser.add_argument("--device", default="cpu")
parser.add_argument("--precision", default="float32", choices=["float32", "tf32", "amp"])
options = parser.parse_args()
device = torch.device(options.device)


def uniform(label, count, low=-1.0, high=1.0):
    """The numbers of inputs.mjs, bit for bit."""
    seed = 0x811C9DC5
    for byte in label.encode():
        seed = ((seed ^ byte) * 0x01000193) & 0xFFFFFFFF
    state = np.uint32(seed) + np.arange(1, count + 1, dtype=np.uint32) * np.uint32(0x6D2B79F5)
    t = (state ^ (state >> np.uint32(15))) * (np.uint32(1) | state)
    t = (t + (t ^ (t >> np.uint32(7))) * (np.uint32(61) | t)) ^ t
    t = t ^ (t >> np.uint32(14))
    return (low + (high - low) * t.astype(np.float64) * 2.0**-32).astype(np.float32)


def integers(label, count, below):
    return np.floor(uniform(label, count, 0, below))


def tensor(values, shape, dtype=torch.float32):
    return torch.from_numpy(values.reshape(shape)).to(device=device, dtype=dtype)


def autocast():
    if options.precision != "amp":
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.float16 if device.type == "cuda" else torch.bfloat16)


def grad_scaler():
    """For AMP on CUDA. Scaled so that the first step, which is checked, is not skipped."""
    if options.precision != "amp" or device.type != "cuda":
        return None
    scaler = torch.amp.GradScaler if hasattr(torch.amp, "GradScaler") else torch.cuda.amp.GradScaler
    return scaler(init_scale=1024.0)


def wait():
    if device.type == "cuda":
        torch.cuda.synchronize()


def matmul(work, dtype):
    a = tensor(uniform("a", work["m"] * work["k"]), (work["m"], work["k"]), dtype)
    b = tensor(uniform("b", work["k"] * work["n"]), (work["k"], work["n"]), dtype)
    return Operator(lambda: a @ b)


def conv2d(work, dtype):
    n, c, h, w, oc, k, oh, ow = (work[key] for key in ("n", "c", "h", "w", "oc", "k", "oh", "ow"))
    stride, pad = [work["stride"]] * 2, [work["pad"]] * 2
    make = lambda name, *shape: tensor(uniform(name, int(np.prod(shape))), shape, dtype)
    x, weight, dy = make("x", n, c, h, w), make("weight", oc, c, k, k), make("dy", n, oc, oh, ow)
    if work["pass"] == "forward":
        return Operator(lambda: F.conv2d(x, weight, stride=stride, padding=pad))
    index = 0 if work["pass"] == "dx" else 1
    mask = [index == 0, index == 1, False]
    gradient = lambda: torch.ops.aten.convolution_backward(
        dy, x, weight, None, stride, pad, [1, 1], False, [0, 0], 1, mask
    )
    return Operator(lambda: gradient()[index])


class Operator:
    def __init__(self, compute):
        self.compute = compute

    def run(self):
        with torch.no_grad(), autocast():
            self.last = self.compute()
        wait()

    def values(self):
        return {"output": self.last}


class Network:
    """ResNet-18 with torchvision's names, from the description in the work and the seeded state dict of works.mjs."""

    def __init__(self, work, dtype, frozen):
        self.net, network = work["resnet18"], work["network"]
        self.parameters, self.buffers = {}, {}
        for layer in self.net["convolutions"]:
            name, norm, c, oc, k = (layer[key] for key in ("name", "norm", "c", "oc", "k"))
            bound = np.sqrt(6 / (oc * k * k))
            self.add(f"{name}.weight", (oc, c, k, k), -bound, bound, dtype)
            self.add(f"{norm}.weight", (oc,), 0.9, 1.1, dtype)
            self.add(f"{norm}.bias", (oc,), -0.1, 0.1, dtype)
            self.add(f"{norm}.running_mean", (oc,), -0.1, 0.1, dtype)
            self.add(f"{norm}.running_var", (oc,), 0.9, 1.1, dtype)
        bound = 1 / np.sqrt(self.net["features"])
        self.add("fc.weight", (network["classes"], self.net["features"]), -bound, bound, dtype)
        self.add("fc.bias", (network["classes"],), -bound, bound, dtype)
        self.frozen = frozen
        if frozen:
            self.fold()

    def add(self, name, shape, low, high, dtype):
        where = self.buffers if "running" in name else self.parameters
        where[name] = tensor(uniform(name, int(np.prod(shape)), low, high), shape, dtype)

    def fold(self):
        for layer in self.net["convolutions"]:
            name, norm = layer["name"], layer["norm"]
            factor = self.parameters[f"{norm}.weight"] / torch.sqrt(self.buffers[f"{norm}.running_var"] + 1e-5)
            self.parameters[f"{name}.weight"] *= factor[:, None, None, None]
            self.parameters[f"{norm}.bias"] -= self.buffers[f"{norm}.running_mean"] * factor

    def convolution(self, x, layer):
        name, norm, p = layer["name"], layer["norm"], self.parameters
        shape = dict(stride=layer["stride"], padding=layer["pad"])
        if self.frozen:
            return F.conv2d(x, p[f"{name}.weight"], p[f"{norm}.bias"], **shape)
        y = F.conv2d(x, p[f"{name}.weight"], **shape)
        mean, variance = self.buffers[f"{norm}.running_mean"], self.buffers[f"{norm}.running_var"]
        return F.batch_norm(y, mean, variance, p[f"{norm}.weight"], p[f"{norm}.bias"], True, 0.1, 1e-5)

    def features(self, x):
        x = F.relu(self.convolution(x, self.net["first"]))
        if self.net["maxPool"]:
            x = F.max_pool2d(x, 3, 2, 1)
        for block in self.net["blocks"]:
            y = self.convolution(F.relu(self.convolution(x, block["conv1"])), block["conv2"])
            x = F.relu(y + (self.convolution(x, block["downsample"]) if "downsample" in block else x))
        return x.mean((2, 3))

    def logits(self, x):
        return F.linear(self.features(x), self.parameters["fc.weight"], self.parameters["fc.bias"])


def image_shape(work):
    network = work["network"]
    return (work["batch"], network["channels"], network["size"], network["size"])


class Forward:
    def __init__(self, work, dtype):
        self.network = Network(work, dtype, frozen=True)
        shape = image_shape(work)
        self.x = tensor(uniform("x", int(np.prod(shape)), -1.75, 1.75), shape, dtype)

    def run(self):
        with torch.no_grad(), autocast():
            self.last = self.network.logits(self.x).cpu()

    def values(self):
        return {"logits": self.last}


class Train:
    def __init__(self, work, dtype):
        self.network = Network(work, dtype, frozen=False)
        shape = image_shape(work)
        self.x = tensor(uniform("x", int(np.prod(shape)), -1.75, 1.75), shape, dtype)
        self.labels = tensor(integers("labels", shape[0], work["network"]["classes"]), (shape[0],), torch.int64)
        parameters = [p.requires_grad_() for p in self.network.parameters.values()]
        self.optimizer = torch.optim.SGD(parameters, lr=work["learningRate"])
        self.scaler = grad_scaler()

    def run(self):
        self.optimizer.zero_grad(set_to_none=True)
        with autocast():
            loss = F.cross_entropy(self.network.logits(self.x), self.labels)
        if self.scaler:
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            loss.backward()
            self.optimizer.step()
        return loss.item()

    def values(self):
        return self.network.parameters


class Mark:
    """An iteration of docs/method.md, 2, without rounding."""

    def __init__(self, work, dtype):
        self.network, self.m = Network(work, dtype, frozen=True), work["marking"]
        shape = image_shape(work)
        self.original = tensor(integers("levels", int(np.prod(shape)), 256), shape, dtype)
        self.image = self.original.clone()
        d = self.network.net["features"]
        carriers = uniform("carriers", shape[0] * d).astype(np.float64) * np.sqrt(3 / d)
        self.carriers = tensor(carriers.astype(np.float32), (shape[0], d), dtype)
        # Photographs are seen through a new crop every iteration, here the whole image; small images always as they are.
        self.crop = shape[2] > 64
        if self.crop:
            identity = torch.eye(2, 3, device=device, dtype=dtype).repeat(shape[0], 1, 1)
            self.grid = F.affine_grid(identity, shape, align_corners=False)
        else:
            with torch.no_grad(), autocast():
                self.vanilla = self.features(self.original)

    def features(self, levels):
        if self.crop:
            levels = F.grid_sample(levels, self.grid, padding_mode="border", align_corners=False)
        levels = levels.clamp(0, 255)
        return self.network.features((levels / 255 - self.m["mean"]) / self.m["std"])

    def run(self):
        m = self.m
        with torch.no_grad(), autocast():
            vanilla = self.features(self.original) if self.crop else self.vanilla
        image = self.image.requires_grad_()
        with autocast():
            moved = (self.features(image) - vanilla).to(self.carriers.dtype)
            distance = torch.linalg.vector_norm(moved, dim=1)
            loss = (-(moved * self.carriers).sum(1) + m["lambdaFeatures"] * distance).sum()
        (gradient,) = torch.autograd.grad(loss, image)
        with torch.no_grad():
            unit = 255 * m["std"]
            offset = image - self.original
            step = -m["learningRate"] * (unit**2 * gradient + 2 * m["lambdaImage"] * offset)
            self.image = self.original + (offset + step).clamp(-m["radiusLevels"], m["radiusLevels"])
        wait()

    def values(self):
        return {"image": self.image}


KINDS = {"matmul": matmul, "conv2d": conv2d, "forward": Forward, "train": Train, "mark": Mark}
prepared = {}


def open_(message):
    torch.set_num_threads(options.threads)
    torch.backends.cudnn.benchmark = True
    allow = options.precision != "float32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allow
    if device.type == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("PyTorch finds no CUDA device")
    adapter = None
    if device.type == "cuda":
        adapter = {"device": torch.cuda.get_device_name(), "description": f"CUDA {torch.version.cuda}"}
        adapter["cudnn"] = torch.backends.cudnn.version()
    return {"version": torch.__version__, "adapter": adapter}


def prepare(message):
    dtype = getattr(torch, message.get("dtype", "float32"))
    prepared[message["id"]] = KINDS[message["work"]["kind"]](message["work"], dtype)
    return {}


def run(message):
    case, loss = prepared[message["id"]], None
    wait()
    start = time.perf_counter()
    for _ in range(message["repeats"]):
        loss = case.run()
    ms = (time.perf_counter() - start) * 1e3 / message["repeats"]
    if loss is not None and not np.isfinite(loss):
        raise RuntimeError(f"the loss is {loss}")
    return {"ms": ms, **({} if loss is None else {"loss": loss})}


def values(message):
    results = prepared[message["id"]].values()
    out = {}
    for name, indices in message["samples"].items():
        flat = results[name].detach().cpu().double().contiguous().view(-1)
        if not torch.isfinite(flat).all():
            raise RuntimeError(f"wrong result: {name} has values that are not finite")
        out[name] = flat[torch.tensor(indices)].tolist()
    return {"values": out}


def release(message):
    del prepared[message["id"]]
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return {}


COMMANDS = {"open": open_, "prepare": prepare, "calm": lambda _: {}, "run": run, "values": values, "release": release}
for line in sys.stdin:
    request = json.loads(line)
    try:
        answer = COMMANDS[request["command"]](request)
    except Exception as error:
        answer = {"error": (str(error).splitlines() or [type(error).__name__])[0]}
    answers.write(json.dumps(answer) + "\n")
