"""What a run has been asked for, line by line, so that a resumed one can be told what differs."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from torch import distributed, nn

from interp_plugins.training.course import Course
from interp_plugins.training.evaluation import Attack, several
from interp_plugins.training.steps import bare

LEFT_OUT = ("epochs", "save_every")  # a resumed run may go on for longer, and be kept more often


def configuration(settings: Any, course: Course, attack: Attack | None) -> dict[str, str]:
    """All that decides how a run goes on, as text by name.

    Args:
        settings: A dataclass.
        course: The caller's objects.
        attack: A dataclass is told by its settings, a function by its name alone.
    """
    found = {
        field.name: _said(getattr(settings, field.name))
        for field in dataclasses.fields(settings)
        if field.name not in LEFT_OUT
    }
    shapes = {name: tuple(value.shape) for name, value in bare(course.model).state_dict().items()}
    defaults = {name: value for name, value in course.optimizer.defaults.items() if value is not None}
    return found | {
        "attack": _said(attack),
        "network": str(shapes),
        "optimizer": f"{type(course.optimizer).__name__} {defaults}",
        "scheduler": type(course.scheduler).__name__,
        "averages": f"decay {course.averages.decay}" if course.averages is not None else "None",
        "batches": _length(course.loader),
        "processes": str(distributed.get_world_size() if several() else 1),
    }


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What differs between two configurations, in words; empty if nothing does."""
    names = [name for name in now if before.get(name) != now[name]]
    return "; ".join(f"{name} was {_short(before.get(name), now[name])}" for name in names)


def _short(before: str | None, now: str, most: int = 120) -> str:
    """Both, from a little before the place where they part."""
    before = str(before)
    same = next((k for k, (a, b) in enumerate(zip(before, now, strict=False)) if a != b), min(len(before), len(now)))
    start = max(0, same - most // 2) if max(len(before), len(now)) > most else 0
    cut = [("…" if start else "") + text[start : start + most] for text in (before, now)]
    return f"{cut[0]} and is {cut[1]}"


def _said(value: object) -> str:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = (f"{field.name}={_said(getattr(value, field.name))}" for field in dataclasses.fields(value))
        return f"{type(value).__name__}({', '.join(parts)})"
    if isinstance(value, tuple | list):
        return f"({', '.join(_said(each) for each in value)})"
    if isinstance(value, nn.Module):
        return repr(value)
    if callable(value):
        return str(getattr(value, "__qualname__", type(value).__qualname__))
    return repr(value)


def _length(loader: object) -> str:
    return str(len(loader)) if hasattr(loader, "__len__") else "unknown"
