"""Makes the files beside it: a picture, and JPEG files of it with tables that are no quality of Annex K's.

Pillow 9.4 with numpy, and cjpeg of libjpeg-turbo 2.1.5 for 4:4:0, which Pillow does not write:  python3 make.py
"""

import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

FOLDER = Path(__file__).parent
HEIGHT, WIDTH = 45, 67

random = np.random.default_rng(7)
y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
levels = np.stack(
    [
        128 + 70 * np.sin(x / (5 + c) + y / (9 - 2 * c) + c) + 50 * ((x + 2 * y) % 41 < 20) - 25
        + 12 * random.standard_normal((HEIGHT, WIDTH))
        for c in range(3)
    ],
    axis=-1,
)
picture = Image.fromarray(np.clip(np.round(levels), 0, 255).astype(np.uint8))
picture.save(FOLDER / "picture.png", optimize=True)

# Row by row.
luminance = [9 + (i // 8) * 3 + (i % 8) * 2 for i in range(64)]
chrominance = [14 + 7 * (i // 8) + 4 * (i % 8) for i in range(64)]
for name, subsampling in {"444": 0, "422": 1, "420": 2}.items():
    picture.save(FOLDER / f"pillow-{name}.jpg", subsampling=subsampling, qtables=[luminance, chrominance])

with tempfile.TemporaryDirectory() as folder:
    picture.save(f"{folder}/picture.ppm")
    tables = "\n\n".join("\n".join(map(str, table)) for table in (luminance, chrominance))
    Path(f"{folder}/tables.txt").write_text(tables)
    subprocess.check_call(
        ["cjpeg", "-sample", "1x2", "-qtables", f"{folder}/tables.txt", "-qslots", "0,1,1"]
        + ["-outfile", str(FOLDER / "cjpeg-440.jpg"), f"{folder}/picture.ppm"]
    )
