"""Makes the files beside it from ../jpeg/picture.png: what Pillow 9.4 and torchvision 0.14 make of it.  python3 make.py"""

from pathlib import Path

import torchvision.transforms.functional as F
from PIL import Image, ImageFilter

FOLDER = Path(__file__).parent
picture = Image.open(FOLDER.parent / "jpeg" / "picture.png")
made = {
    "smaller": picture.resize((35, 23), Image.BILINEAR),
    "larger": picture.resize((90, 61), Image.BILINEAR),
    "median": picture.filter(ImageFilter.MedianFilter(3)),
    "blurred": F.to_pil_image(F.gaussian_blur(F.pil_to_tensor(picture), [5, 5], [1.0, 1.0])),
}
levels = F.pil_to_tensor(picture)
recoloured = F.adjust_saturation(F.adjust_contrast(F.adjust_brightness(levels, 1.17), 0.83), 1.1)
made["recoloured"] = F.to_pil_image(recoloured)
for name, image in made.items():
    image.save(FOLDER / f"{name}.png", optimize=True)
