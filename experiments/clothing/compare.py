"""What a marked set of files has of its originals: names, sizes, quantisation tables, sampling of colours; and what torchvision sees.

python3 compare.py ORIGINAL MARKED…   (Pillow and torchvision)
"""

import json
import sys
from pathlib import Path

from PIL import Image
from torchvision.datasets import ImageFolder

original, *marked_sets = map(Path, sys.argv[1:])


def coding(path):
    image = Image.open(path)
    if image.format != "JPEG":
        return image.format
    return image.quantization, [layer[1:3] for layer in image.layer], image.info.get("progressive", 0)


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


for marked in marked_sets:
    manifest = json.loads(Path(f"{marked}.private/manifest.json").read_text())
    ids = {image["id"] for image in manifest["images"]}
    names = files(marked)
    print(f"{marked}: {len(names)} files, {len(ids)} of them marked")
    same = [name for name in names if (original / name).exists()]
    print(f"  names that the originals have: {len(same)} of {len(names)}")
    if same:
        tables = sum(coding(original / name) == coding(marked / name) for name in same)
        print(f"  tables, sampling and kind of JPEG as the original's: {tables} of {len(same)}")
        for what, chosen in [("marked", [n for n in same if n in ids]), ("unmarked", [n for n in same if n not in ids])]:
            ratio = sorted((marked / n).stat().st_size / (original / n).stat().st_size - 1 for n in chosen)
            before, after = (sum((folder / n).stat().st_size for n in chosen) for folder in (original, marked))
            print(
                f"  bytes of the {what}: {100 * (after / before - 1):+.2f} % together; of a file {100 * ratio[0]:+.2f} to "
                f"{100 * ratio[-1]:+.2f} %, {sum(abs(r) > 0.05 for r in ratio)} of {len(ratio)} beyond 5 %"
            )
    before, after = ImageFolder(original), ImageFolder(marked)
    stem = lambda sample, root: (str(Path(sample[0]).relative_to(root).with_suffix("")), sample[1])
    order = [stem(s, original) for s in before.samples] == [stem(s, marked) for s in after.samples]
    sizes = all(before[i][0].size == after[i][0].size for i in range(len(before)))
    print(f"  ImageFolder: {len(after)} images of {len(after.classes)} classes; classes as before: {before.classes == after.classes}; ")
    print(f"    number, order and labels as before: {order}; widths and heights as before: {sizes}")
    psnr = sorted(image["psnr"] for image in manifest["images"] if image["psnr"] is not None)
    gains = [image["gain"] for image in manifest["images"]]
    largest = max(image["maxChangeLevels"] for image in manifest["images"])
    print(
        f"  PSNR of the marked: lowest {psnr[0]:.1f}, median {psnr[len(psnr) // 2]:.1f} dB; mean gain {sum(gains) / len(gains):.4f}; "
        f"largest change {largest} levels"
    )
