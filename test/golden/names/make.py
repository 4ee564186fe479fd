"""Makes names.json: small networks as other projects build and name them, and what PyTorch computes with them.

    python3 make.py > names.json        # PyTorch 1.13

Weights and images are not stored: they follow from their names (`formula`, as in test/formula.ts). Each network is written here as
its project's forward pass is, so that what a file's names mean is PyTorch's word and not ours.
"""
import json
import math
import re

import torch
from torch import nn

WIDTH, CLASSES = 2, 3


def formula(name, size):
    x = 0x811C9DC5
    for byte in name.encode():
        x = ((x ^ byte) * 0x01000193) & 0xFFFFFFFF
    values = []
    for _ in range(size):
        x = (x * 1664525 + 1013904223) & 0xFFFFFFFF
        values.append(x / 2**32)
    return torch.tensor(values, dtype=torch.float64)


def fill(module):
    """Sets every floating-point tensor from its name; the list of [name, type, shape], and the name whose values it has, if another's."""
    seen, listed = {}, []
    for key, tensor in module.state_dict(keep_vars=True).items():
        name = key.replace("features_.", "features.")
        first = seen.setdefault(tensor.data_ptr(), name)
        entry = [name, "F32" if tensor.is_floating_point() else "I64", list(tensor.shape)]
        listed.append(entry if first == name else entry + [first])
        if not tensor.is_floating_point() or first != name or re.search(r"normalizer?\.", name):
            continue
        t = formula(name, tensor.numel()).reshape(tensor.shape)
        if tensor.dim() > 1:
            values = (2 * t - 1) * math.sqrt(6 / (tensor.numel() / tensor.shape[0]))
        elif name.endswith("bias") or name.endswith("running_mean"):
            values = (2 * t - 1) * 0.1
        else:
            values = 0.5 + t
        tensor.data.copy_(values)
    return listed


# torchvision/models/resnet.py
class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, inside, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inside, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = None
        if stride > 1 or inside != width:
            self.downsample = nn.Sequential(nn.Conv2d(inside, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x):
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """ResNet-18; stem `imagenet`, `cifar`, or huyvnphan/PyTorch_CIFAR10's, 3x3 and the pooling left in."""

    def __init__(self, stem="imagenet", fc=None):
        super().__init__()
        kernel = (7, 2, 3) if stem == "imagenet" else (3, 1, 1)
        self.conv1 = nn.Conv2d(3, WIDTH, *kernel, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTH)
        self.relu = nn.ReLU()
        self.maxpool = nn.Identity() if stem == "cifar" else nn.MaxPool2d(3, 2, 1)
        inside = WIDTH
        for stage in range(4):
            out = WIDTH << stage
            blocks = [BasicBlock(inside, out, 2 if stage else 1), BasicBlock(out, out, 1)]
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
            inside = out
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(inside, CLASSES) if fc is None else fc

    def features(self, x):
        y = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        y = self.layer4(self.layer3(self.layer2(self.layer1(y))))
        return torch.flatten(self.avgpool(y), 1)

    def forward(self, x):
        return self.fc(self.features(x))


# kuangliu/pytorch-cifar, models/resnet.py
class KuangliuBlock(nn.Module):
    def __init__(self, inside, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inside, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = nn.Sequential()
        if stride != 1 or inside != width:
            self.shortcut = nn.Sequential(nn.Conv2d(inside, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x):
        out = torch.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return torch.relu(out)


class Kuangliu(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTH, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTH)
        inside = WIDTH
        for stage in range(4):
            out = WIDTH << stage
            blocks = [KuangliuBlock(inside, out, 2 if stage else 1), KuangliuBlock(out, out, 1)]
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
            inside = out
        self.linear = nn.Linear(inside, CLASSES)

    def features(self, x):
        out = torch.relu(self.bn1(self.conv1(x)))
        out = self.layer4(self.layer3(self.layer2(self.layer1(out))))
        out = nn.functional.avg_pool2d(out, 4)
        return out.view(out.size(0), -1)

    def forward(self, x):
        return self.linear(self.features(x))


# Hugging Face transformers, models/resnet/modeling_resnet.py
class HfConv(nn.Module):
    def __init__(self, inside, out, kernel=3, stride=1, activation=True):
        super().__init__()
        self.convolution = nn.Conv2d(inside, out, kernel, stride, kernel // 2, bias=False)
        self.normalization = nn.BatchNorm2d(out)
        self.activation = nn.ReLU() if activation else nn.Identity()

    def forward(self, x):
        return self.activation(self.normalization(self.convolution(x)))


class HfShortcut(nn.Module):
    def __init__(self, inside, out, stride):
        super().__init__()
        self.convolution = nn.Conv2d(inside, out, 1, stride, bias=False)
        self.normalization = nn.BatchNorm2d(out)

    def forward(self, x):
        return self.normalization(self.convolution(x))


class HfLayer(nn.Module):
    def __init__(self, inside, out, stride, bottleneck):
        super().__init__()
        same = inside == out and stride == 1
        self.shortcut = nn.Identity() if same else HfShortcut(inside, out, stride)
        if bottleneck:
            layers = [HfConv(inside, out // 4, 1), HfConv(out // 4, out // 4, stride=stride)]
            self.layer = nn.Sequential(*layers, HfConv(out // 4, out, 1, activation=False))
        else:
            self.layer = nn.Sequential(HfConv(inside, out, stride=stride), HfConv(out, out, activation=False))

    def forward(self, x):
        return torch.relu(self.layer(x) + self.shortcut(x))


class HfStage(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x)


class HfEmbedder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedder = HfConv(3, WIDTH, 7, 2)
        self.pooler = nn.MaxPool2d(3, 2, 1)

    def forward(self, x):
        return self.pooler(self.embedder(x))


class HfEncoder(nn.Module):
    def __init__(self, depths, bottleneck):
        super().__init__()
        inside, stages = WIDTH, []
        for stage, depth in enumerate(depths):
            out = (WIDTH << stage) * (4 if bottleneck else 1)
            layers = []
            for index in range(depth):
                layers.append(HfLayer(inside, out, 2 if stage and not index else 1, bottleneck))
                inside = out
            stages.append(HfStage(layers))
        self.stages = nn.ModuleList(stages)

    def forward(self, x):
        for stage in self.stages:
            x = stage(x)
        return x


class HfModel(nn.Module):
    def __init__(self, depths, bottleneck):
        super().__init__()
        self.embedder = HfEmbedder()
        self.encoder = HfEncoder(depths, bottleneck)

    def forward(self, x):
        return self.encoder(self.embedder(x)).mean((2, 3), keepdim=True)


class HfResNet(nn.Module):
    def __init__(self, depths, bottleneck):
        super().__init__()
        self.resnet = HfModel(depths, bottleneck)
        dimension = WIDTH * 8 * (4 if bottleneck else 1)
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(dimension, CLASSES))

    def features(self, x):
        return torch.flatten(self.resnet(x), 1)

    def forward(self, x):
        return self.classifier(self.resnet(x))


# timm, models/vgg.py: the fully connected layers are convolutions.
class ConvMlp(nn.Module):
    def __init__(self, inside, hidden):
        super().__init__()
        self.fc1 = nn.Conv2d(inside, hidden, 7)
        self.fc2 = nn.Conv2d(hidden, hidden, 1)

    def forward(self, x):
        return torch.relu(self.fc2(torch.relu(self.fc1(x))))


class TimmVgg(nn.Module):
    def __init__(self, hidden=6):
        super().__init__()
        layers, inside = [], 3
        for out in [1, 1, "M", 2, 2, "M", 4, 4, 4, "M", 8, 8, 8, "M", 8, 8, 8, "M"]:
            if out == "M":
                layers.append(nn.MaxPool2d(2, 2))
            else:
                layers += [nn.Conv2d(inside, out * WIDTH, 3, padding=1), nn.ReLU()]
                inside = out * WIDTH
        self.features_ = nn.Sequential(*layers)
        self.pre_logits = ConvMlp(inside, hidden)
        self.head = nn.Module()
        self.head.fc = nn.Linear(hidden, CLASSES)

    def features(self, x):
        # timm sees at least 224 pixels; torchvision's network pools smaller ones up to 7x7.
        y = nn.functional.adaptive_avg_pool2d(self.features_(x), 7)
        return torch.flatten(self.pre_logits(y), 1)

    def forward(self, x):
        return self.head.fc(self.features(x))


class Named(nn.Module):
    """A network under other names: modules by name, and how to get from an image to features and logits."""

    def __init__(self, features, logits, **modules):
        super().__init__()
        for name, module in modules.items():
            setattr(self, name, module)
        self.features = lambda x: features(self, x)
        self.forward = lambda x: logits(self, x)


def wrapped(name, module):
    return Named(lambda self, x: module.features(x), lambda self, x: module(x), **{name: module})


class Fsdp(nn.Module):
    """Wraps a module as FullyShardedDataParallel names it."""

    def __init__(self, module):
        super().__init__()
        self._fsdp_wrapped_module = module

    def forward(self, x):
        return self._fsdp_wrapped_module(x)


def fsdp():
    model = ResNet("cifar")
    for stage in range(1, 5):
        setattr(model, f"layer{stage}", Fsdp(getattr(model, f"layer{stage}")))
    return wrapped("_fsdp_wrapped_module", model)


class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("tp", torch.zeros(CLASSES, dtype=torch.int64))


class Normalizer(nn.Module):
    """MadryLab/robustness, tools/helpers.py: InputNormalize."""

    def __init__(self, prefix):
        super().__init__()
        self.register_buffer(f"{prefix}mean", torch.tensor([0.4914, 0.4822, 0.4465])[..., None, None])
        self.register_buffer(f"{prefix}std", torch.tensor([0.2023, 0.1994, 0.2010])[..., None, None])


def robustness():
    model, normalizer = ResNet("cifar"), Normalizer("new_")
    attacker = nn.Module()
    attacker.normalize = normalizer
    attacker.model = model
    normalised = lambda x: (x - normalizer.new_mean) / normalizer.new_std
    both = {"normalizer": normalizer, "model": model, "attacker": attacker}
    inner = Named(
        lambda self, x: model.features(normalised(x)), lambda self, x: model(normalised(x)), **both
    )
    return wrapped("module", inner)


def backbone_and(head_name, head):
    """A network without its last layer, and that beside it."""
    model = ResNet("cifar", fc=nn.Identity())
    return Named(
        lambda self, x: model.features(x), lambda self, x: head(model.features(x)), backbone=model, **{head_name: head}
    )


def mmpretrain():
    head = nn.Module()
    head.fc = nn.Linear(8 * WIDTH, CLASSES)
    head.forward = lambda x: head.fc(x)
    return backbone_and("head", head)


def sequential():
    children = list(ResNet().children())
    features = nn.Sequential(*children[:-1], nn.Flatten())
    both = nn.Sequential(*features, children[-1])
    both.features = features.forward
    return both


def nested_sequential():
    children = list(ResNet().children())
    features = nn.Sequential(*children[:-1])
    both = nn.Sequential(features, nn.Flatten(), nn.Dropout(0.2), children[-1])
    both.features = lambda x: torch.flatten(features(x), 1)
    return both


def averaged():
    model = torch.optim.swa_utils.AveragedModel(ResNet("cifar"))
    model.features = model.module.features
    return model


def lightning():
    model = ResNet("cifar")
    criterion = nn.BCEWithLogitsLoss(pos_weight=torch.ones(CLASSES))
    return Named(
        lambda self, x: model.features(x), lambda self, x: model(x), model=model, criterion=criterion, train_acc=Counter()
    )


def convolution_head():
    model = ResNet("cifar", fc=nn.Identity())
    head = nn.Conv2d(8 * WIDTH, CLASSES, 1)
    logits = lambda self, x: torch.flatten(head(model.features(x)[..., None, None]), 1)
    return Named(lambda self, x: model.features(x), logits, backbone=model, classifier=head)


CASES = {
    "DataParallel": (lambda: wrapped("module", ResNet()), {"stem": "imagenet"}),
    "torch.compile of Lightning's _forward_module": (
        lambda: wrapped("_forward_module", wrapped("_orig_mod", ResNet("cifar"))),
        {"stem": "cifar"},
    ),
    "net.": (lambda: wrapped("net", ResNet("cifar")), {"stem": "cifar"}),
    "encoder.": (lambda: wrapped("encoder", ResNet("cifar")), {"stem": "cifar"}),
    "AveragedModel": (averaged, {"stem": "cifar"}),
    "FSDP": (fsdp, {"stem": "cifar"}),
    "Lightning with a weighted loss and a metric": (lightning, {"stem": "cifar"}),
    "backbone. and classifier": (lambda: backbone_and("classifier", nn.Linear(8 * WIDTH, CLASSES)), {"stem": "cifar"}),
    "mmpretrain": (mmpretrain, {"stem": "cifar"}),
    "MadryLab/robustness": (robustness, {"stem": "cifar", "normalised": True}),
    "kuangliu/pytorch-cifar": (Kuangliu, {"stem": "cifar"}),
    "huyvnphan/PyTorch_CIFAR10": (lambda: ResNet("cifar-pool"), {"stem": "cifar-pool"}),
    "Hugging Face, ResNet-18": (lambda: HfResNet([2, 2, 2, 2], False), {"stem": "imagenet"}),
    "Hugging Face, ResNet-50": (
        lambda: HfResNet([3, 4, 6, 3], True),
        {"stem": "imagenet", "architecture": "resnet50"},
    ),
    "nn.Sequential(*children)": (sequential, {"stem": "imagenet"}),
    "nn.Sequential of nn.Sequential(*children)": (nested_sequential, {"stem": "imagenet"}),
    "fc as dropout and linear": (
        lambda: ResNet("cifar", fc=nn.Sequential(nn.Dropout(), nn.Linear(8 * WIDTH, CLASSES))),
        {"stem": "cifar"},
    ),
    "a last layer without bias": (
        lambda: ResNet("cifar", fc=nn.Linear(8 * WIDTH, CLASSES, bias=False)),
        {"stem": "cifar"},
    ),
    "a convolution as last layer": (convolution_head, {"stem": "cifar"}),
    "timm, VGG-16": (TimmVgg, {"architecture": "vgg16"}),
}


def main():
    torch.manual_seed(0)
    size, count = 32, 2
    cases = []
    for name, (build, options) in CASES.items():
        model = build().eval()
        tensors = fill(model)
        x = (2 * formula("image", count * 3 * size * size) - 1).reshape(count, 3, size, size)
        if options.get("normalised"):
            x = (x + 1) / 2
        double = model.double()
        with torch.no_grad():
            features, logits = double.features(x), double(x)
        case = {
            "name": name,
            **options,
            "tensors": tensors,
            "features": [float(f"{value:.7g}") for value in features.flatten().tolist()],
            "logits": [float(f"{value:.7g}") for value in logits.flatten().tolist()],
        }
        cases.append(case)
    print("[")
    print(",\n".join(json.dumps(case, separators=(",", ":")) for case in cases))
    print("]")


main()
