"""Options as they were typed, and the words that type them again."""

from dataclasses import MISSING, dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Typed:
    """The options of a command, a field each: what a person types, and what one process tells another."""

    def words(self, **changed: Any) -> list[str]:
        """The options to type for this request, some of them changed; what is as by default is left out."""
        found = []
        for field in fields(self):
            value = changed.get(field.name, getattr(self, field.name))
            if field.default is not MISSING and value == field.default:
                continue
            option = "--" + field.name.replace("_", "-")
            if isinstance(value, bool):
                found.append(option if value else option.replace("--", "--no-", 1))
            else:
                for each in value if isinstance(value, list) else [value]:
                    found += [option, str(each)]
        return found
