#!/usr/bin/env python3
"""Makes augment.safetensors and augment_training.safetensors with torchvision 0.14, PyTorch 1.13 and Pillow 9.4 (Debian 12: python3-torchvision).

    python3 test/golden/augment.py
"""

import json
import os
import struct

import numpy as np
import torch
from PIL import Image
from torch.optim.swa_utils import AveragedModel
from torchvision.transforms import RandAugment, TrivialAugmentWide, functional
from torchvision.transforms.autoaugment import _apply_op, InterpolationMode

HERE = os.path.dirname(os.path.abspath(__file__))
TYPES = {np.uint8: "U8", np.float32: "F32", np.float64: "F64", np.int64: "I64"}


def save(name, tensors, metadata):
    header, chunks, at = {"__metadata__": metadata}, [], 0
    for key, value in tensors.items():
        value = np.ascontiguousarray(value)
        header[key] = {
            "dtype": TYPES[value.dtype.type],
            "shape": list(value.shape),
            "data_offsets": [at, at + value.nbytes],
        }
        chunks.append(value.tobytes())
        at += value.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(HERE, name), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(chunks))


def picture(rng, height, width, channels):
    """Smooth, of several contrasts, with some noise: no operation is without effect."""
    y, x = np.mgrid[0:height, 0:width]
    planes = []
    for c in range(channels):
        wave = np.sin(x / (2 + c)) + np.cos(y / (3 - c)) + x * y / (height * width)
        wave = (wave - wave.min()) / (wave.max() - wave.min())
        planes.append(30 + c * 10 + wave * (170 - 25 * c) + rng.normal(0, 4, (height, width)))
    stacked = np.stack(planes, -1).clip(0, 255).round().astype(np.uint8)
    return stacked[..., 0] if channels == 1 else stacked


def operations():
    rng = np.random.default_rng(1)
    tensors, metadata = {}, {}
    pictures = {"colour": picture(rng, 11, 9, 3), "grey": picture(rng, 8, 8, 1), "flat": np.full((5, 6, 3), 77, np.uint8)}
    # As large as a histogram needs for its equalisation to do something: 255 pixels besides the most frequent level.
    pictures["large"] = picture(rng, 20, 24, 3)
    rand, trivial = RandAugment(), TrivialAugmentWide()
    for name, pixels in pictures.items():
        tensors[f"{name}/x"] = pixels
        height, width = pixels.shape[:2]
        spaces = {"rand": rand._augmentation_space(31, (height, width)), "trivial": trivial._augmentation_space(31)}
        cases = []
        for space, table in spaces.items():
            for operation, (magnitudes, signed) in table.items():
                if magnitudes.ndim > 0:
                    tensors[f"{name}/{space}/{operation}"] = magnitudes.numpy().astype(np.float64)
                if name in ("flat", "large") and magnitudes.ndim > 0 and space == "rand":
                    continue
                bins = [4, 9, 17, 30] if magnitudes.ndim > 0 else [None]
                for bin_ in bins:
                    for sign in (1, -1) if signed else (1,):
                        magnitude = 0.0 if bin_ is None else sign * float(magnitudes[bin_].item())
                        cases.append((space, operation, magnitude))
        results = []
        for space, operation, magnitude in cases:
            image = _apply_op(Image.fromarray(pixels), operation, magnitude, InterpolationMode.NEAREST, None)
            results.append(np.asarray(image))
        tensors[f"{name}/y"] = np.stack(results)
        metadata[name] = json.dumps([[operation, magnitude] for _, operation, magnitude in cases])
    # RandomCrop with padding, at every offset that matters, and mirrored.
    x = pictures["colour"]
    crops, results = [], []
    for top, left, flip in [(0, 0, False), (4, 4, False), (8, 0, True), (3, 7, True), (0, 8, False), (5, 4, True)]:
        image = functional.crop(functional.pad(Image.fromarray(x), 4, 0), top, left, *x.shape[:2])
        results.append(np.asarray(functional.hflip(image) if flip else image))
        crops.append([top - 4, left - 4, flip])
    tensors["crop/y"] = np.stack(results)
    metadata["crop"] = json.dumps(crops)
    save("augment.safetensors", tensors, metadata)


def mix(x, targets, lam, box):
    """RandomMixup and RandomCutmix of torchvision's references/classification/transforms.py."""
    if box is None:
        return x * lam + x.roll(1, 0) * (1 - lam), targets * lam + targets.roll(1, 0) * (1 - lam), [0, 0, 0, 0], lam
    height, width = x.shape[-2:]
    row, column = box
    half = 0.5 * np.sqrt(1.0 - lam)
    half_width, half_height = int(half * width), int(half * height)
    x1, y1 = max(column - half_width, 0), max(row - half_height, 0)
    x2, y2 = min(column + half_width, width), min(row + half_height, height)
    mixed = x.clone()
    mixed[:, :, y1:y2, x1:x2] = x.roll(1, 0)[:, :, y1:y2, x1:x2]
    lam = 1.0 - (x2 - x1) * (y2 - y1) / (width * height)
    return mixed, targets * lam + targets.roll(1, 0) * (1 - lam), [y1, x1, y2, x2], lam


def training():
    torch.manual_seed(2)
    tensors, metadata = {}, {}
    x = torch.rand(4, 3, 8, 8)
    labels = torch.tensor([0, 3, 1, 2])
    one_hot = torch.nn.functional.one_hot(labels, 5).float()
    tensors["mix/x"] = x.numpy()
    cases = []
    for name, lam, box in [
        ("mixup", 0.3, None),
        ("middle", 0.6, (4, 3)),
        ("corner", 0.2, (0, 7)),
        ("all", 0.0, (4, 4)),
        ("nothing", 0.99, (2, 2)),
    ]:
        mixed, targets, edges, share = mix(x, one_hot, lam, box)
        logits = torch.randn(4, 5)
        loss = torch.nn.functional.cross_entropy(logits, targets, label_smoothing=0.1)
        tensors[f"{name}/y"] = mixed.numpy()
        tensors[f"{name}/logits"] = logits.numpy()
        tensors[f"{name}/loss"] = loss.reshape(1).numpy()
        cases.append({"name": name, "lambda": lam, "at": box, "box": edges, "share": share})
    metadata["mix"] = json.dumps(cases)

    # A linear layer: five steps of SGD with momentum and decay on smoothed labels, gradients clipped, weights averaged.
    features = torch.randn(6, 8)
    truth = torch.tensor([0, 3, 1, 2, 3, 0])
    for name, most in [("short", 0.1), ("long", 100.0)]:
        torch.manual_seed(3)
        layer = torch.nn.Linear(8, 4)
        tensors[f"{name}/weight"] = layer.weight.detach().numpy().copy()
        tensors[f"{name}/bias"] = layer.bias.detach().numpy().copy()
        average = AveragedModel(layer, avg_fn=lambda old, new, count: 0.8 * old + (1 - 0.8) * new)
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.3, momentum=0.9, weight_decay=0.01)
        losses, norms = [], []
        for step in range(5):
            optimizer.param_groups[0]["lr"] = 0.3 * 0.5 * (1 + np.cos(np.pi * step / 5))
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(layer(features), truth, label_smoothing=0.2)
            loss.backward()
            norms.append(float(torch.nn.utils.clip_grad_norm_(layer.parameters(), most)))
            optimizer.step()
            average.update_parameters(layer)
            losses.append(float(loss))
        tensors[f"{name}/losses"] = np.array(losses, np.float32)
        for parameter in ("weight", "bias"):
            tensors[f"{name}/{parameter}/after"] = getattr(layer, parameter).detach().numpy().copy()
            tensors[f"{name}/{parameter}/average"] = getattr(average.module, parameter).detach().numpy().copy()
        metadata[name] = json.dumps({"most": most, "norms": norms})
    tensors["features"] = features.numpy()
    tensors["truth"] = truth.numpy()
    save("augment_training.safetensors", tensors, metadata)


operations()
training()
