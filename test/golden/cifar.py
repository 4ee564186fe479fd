#!/usr/bin/env python3
"""Makes cifar/ with Python 3.11's pickle and NumPy 1.24 (Debian 12): small batches in the forms of CIFAR-10 and CIFAR-100.

    python3 test/golden/cifar.py

Image i has at row y, column x, channel c the level (37 i + 5 x + 11 y + 101 c + x y) mod 256.
"""

import io
import os
import pickle
import struct

import numpy as np

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cifar")


class Python2(pickle._Pickler):
    """Strings and bytes as Python 2's protocol 2 has them, which the published files are written in."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_text(self, value):
        value = value.encode() if isinstance(value, str) else value
        if len(value) < 256:
            self.write(b"U" + bytes([len(value)]) + value)
        else:
            self.write(b"T" + struct.pack("<i", len(value)) + value)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_text


def python2(value, fast=False):
    file = io.BytesIO()
    pickler = Python2(file, protocol=2)
    pickler.fast = fast
    pickler.dump(value)
    return file.getvalue()


def images(first, count):
    i, c, y, x = np.ogrid[first : first + count, 0:3, 0:32, 0:32]
    return ((37 * i + 5 * x + 11 * y + 101 * c + x * y) % 256).astype(np.uint8).reshape(count, 3072)


def batch(title, labels, first, **more):
    return {
        "batch_label": title,
        **labels,
        "data": images(first, len(next(iter(labels.values())))),
        "filenames": [f"image_{first + i}.png" for i in range(len(next(iter(labels.values()))))],
        **more,
    }


def write(name, content):
    os.makedirs(os.path.dirname(os.path.join(HERE, name)), exist_ok=True)
    with open(os.path.join(HERE, name), "wb") as file:
        file.write(content)


NAMES = ["airplane", "automobile", "bird"]
ten = [
    ("data_batch_1", batch("training batch 1 of 2", {"labels": [2, 0, 1]}, 0)),
    ("data_batch_10", batch("training batch 10", {"labels": [1]}, 5)),
    ("data_batch_2", batch("training batch 2 of 2", {"labels": [0, 2]}, 3)),
    ("test_batch", batch("testing batch 1 of 1", {"labels": [1, 0]}, 6)),
]
for name, content in ten:
    write(f"cifar-10-batches-py/{name}", python2(content))
write("cifar-10-batches-py/batches.meta", python2({"num_cases_per_batch": 3, "label_names": NAMES, "num_vis": 3072}))

# The second and third image of the first batch, as a copy of a part is written: without a memo.
part = batch("training batch 1 of 2", {"labels": [0, 1]}, 1)
part["filenames"] = ["image_1.png", "image_2.png"]
write("part", python2(part, fast=True))

# The same batch as other versions of Python write it again.
for protocol in (3, 4, 5):
    write(f"protocol-{protocol}", pickle.dumps(ten[0][1], protocol))
as_bytes = pickle.loads(python2(ten[0][1]), encoding="bytes")
as_bytes[b"data"] = images(0, 3)
write("keys-of-bytes", pickle.dumps(as_bytes, 4))
write("text-of-bytes", pickle.dumps(ten[0][1], 2))
write("by-columns", python2({**ten[0][1], "data": np.asfortranarray(images(0, 3))}))

labels = {"fine_labels": [1, 2, 0], "coarse_labels": [1, 0, 1]}
write("cifar-100-python/train", python2(batch("training batch 1 of 1", labels, 0)))
write(
    "cifar-100-python/meta",
    python2({"fine_label_names": ["apple", "bear", "bee"], "coarse_label_names": ["food", "insects"]}),
)
for name, content in ten:
    records = zip(content["labels"], content["data"])
    write(f"cifar-10-batches-bin/{name}.bin", b"".join(bytes([label]) + row.tobytes() for label, row in records))
write("cifar-10-batches-bin/batches.meta.txt", ("\n".join(NAMES) + "\n\n").encode())
records = zip(labels["coarse_labels"], labels["fine_labels"], images(0, 3))
write("cifar-100-binary/train.bin", b"".join(bytes([coarse, fine]) + row.tobytes() for coarse, fine, row in records))
write("cifar-100-binary/fine_label_names.txt", b"apple\nbear\nbee\n")
write("cifar-100-binary/coarse_label_names.txt", b"food\ninsects\n")
