"""Writes carriers.pth and image.npy as the code of the paper's authors does (README and make_data_radioactive.py: torch.save of unit
rows; numpy.save of uint8 levels [height, width, 3]). The carriers are those of ../detection.safetensors, whose test PyTorch computed.
"""
import json
import struct

import numpy
import torch

with open("../detection.safetensors", "rb") as file:
    (length,) = struct.unpack("<Q", file.read(8))
    entry = json.loads(file.read(length))["carriers"]
    begin, end = entry["data_offsets"]
    file.seek(8 + length + begin)
    carriers = numpy.frombuffer(file.read(end - begin)).reshape(entry["shape"])
torch.save(torch.tensor(carriers, dtype=torch.float32), "carriers.pth")
numpy.save("image.npy", (numpy.arange(2 * 3 * 3).reshape(2, 3, 3) * 14).astype(numpy.uint8))
