"""What all results can do: become plain numbers, or a data frame where pandas is installed."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor


class Result:
    """A frozen dataclass of tensors on the CPU; what has one number a row becomes a column of the data frame."""

    row: ClassVar[str]  # what a row of the data frame is: a unit or an image

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain numbers, lists and strings."""
        return {name: plain(value) for name, value in self._fields().items()}

    def to_dataframe(self) -> Any:
        """One row for each unit or image, with its number and each field that says one thing of it.

        Raises:
            ImportError: pandas is not installed.
        """
        found = {name: value for name, value in self._fields().items() if value is not None}
        rows = next(len(value) for value in found.values() if isinstance(value, Tensor))
        numbers = torch.arange(rows)
        columns = {"layer": found.pop("layer"), self.row: numbers}
        return frame(columns | {name: value for name, value in found.items() if _is_column(value, rows)})

    def _fields(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]


def plain(value: Any) -> Any:
    """A tensor, a tuple or a dataclass of them as numbers, lists and dictionaries; anything else as it is."""
    if isinstance(value, Tensor):
        return value.tolist()
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    return [plain(each) for each in value] if isinstance(value, tuple) else value


def frame(columns: Mapping[str, Any]) -> Any:
    """A data frame of columns; a tensor is a column, anything else the same in each row.

    Raises:
        ImportError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise ImportError("pandas is needed for a data frame: pip install pandas; to_dict needs nothing") from error
    return pandas.DataFrame(
        {name: value.numpy() if isinstance(value, Tensor) else value for name, value in columns.items()}
    )


def _is_column(value: object, rows: int) -> bool:
    return isinstance(value, Tensor) and value.shape == (rows,)
