"""Makes list.json: the files of a folder, and what torchvision's ImageFolder takes of them, in its order.

    python3 make.py > list.json         # torchvision 0.14
"""
import json
import pathlib
import tempfile

from torchvision.datasets import ImageFolder

FILES = """
Zebra/\u2160.png
Zebra/\U0001f600.png
Zebra/\uff21.png
cat/001.jpg
cat/001.large.jpg
cat/001.JPEG
cat/002.JPEG
cat/0020.jpeg
cat/002-b.jpg
cat/002_b.jpg
cat/10.png
cat/9.png
cat/a b.webp
cat/a.b.webp
cat/B.png
cat/no-extension
cat/photo.jfif
cat/photo.jpg?w=100
cat/photo.jpg_large
cat/photo.jpg.png
cat/photo.ppm
cat/photo.bmp
cat/photo.TIF
cat/photo.gif
cat/notes.txt
cat/b/1.png
cat/b/d/1.png
cat/b-c/1.png
cat/b.c/1.png
cat/z.png
dog/10.PNG
dog/9.pgm
dog/e\u0301.jpg
dog/\u00e9a.jpg
dog/deep/deeper/deepest/1.jpg
README.txt
""".split("\n")[1:-1]

with tempfile.TemporaryDirectory() as root:
    for name in FILES:
        path = pathlib.Path(root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    folder = ImageFolder(root)
    samples = [[str(pathlib.Path(path).relative_to(root)), label] for path, label in folder.samples]
print(json.dumps({"files": FILES, "classes": folder.classes, "samples": samples}, indent=1))
