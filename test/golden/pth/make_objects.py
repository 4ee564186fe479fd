"""Writes objects.pth: a state dict beside what training loops put into checkpoints. Run it as a program: classes are of __main__."""
import collections
import datetime
import pathlib

import numpy
import torch


class Config:
    def __init__(self):
        self.lr = 0.1


class Table(dict):
    pass


torch.save(
    {
        "state_dict": {"w": torch.arange(4.0)},
        "mean": numpy.arange(3.0),
        "time": datetime.datetime(2031, 1, 2, 3, 4, 5),
        "path": pathlib.PosixPath("runs/1"),
        "losses": collections.deque([0.5, 0.25], maxlen=8),
        "config": Config(),
        "table": Table(a=1),
        "rng": {"numpy": numpy.random.RandomState(0).get_state()},
    },
    "objects.pth",
)
