"""Settings as people write them: YAML files, and names with dots that lead into options."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workbench.io.text import read_text

MOST_VALUES = 100_000  # in a file; a grid of 2,000 cells, each written out, holds a tenth of that


def read_yaml(path: Path, what: str) -> dict[str, Any]:
    """The keys and values in a YAML or JSON file, called ``what`` in messages; an empty file has none.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not YAML, holds something else than keys and values or more than :data:`MOST_VALUES` of them,
            or a key is not text. The message names the file.
    """
    import yaml

    text = read_text(path, what)
    if len(text) > MOST_VALUES * 10:
        raise ValueError(f"{path} has {len(text)} letters, expected a {what} of at most {MOST_VALUES * 10}")
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that no calendar has
        raise ValueError(f"{path} is not YAML: {error}") from error
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply, expected a {what}") from None
    content = {} if content is None else content
    waiting, seen = [content], 0
    while waiting:  # an anchor that is used again counts again, as a few lines can stand for billions of values
        value = waiting.pop()
        seen += 1
        if seen > MOST_VALUES:
            raise ValueError(f"{path} holds more than {MOST_VALUES} values, expected a {what}")
        if isinstance(value, dict):
            for key in value:
                if not isinstance(key, str):
                    raise ValueError(f"{path} has the key {key!r}, expected text: write it in quotes")
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, expected keys and values")
    return content


def nested(given: Mapping[str, Any]) -> dict[str, Any]:
    """``{"loss_options.sigma": 4}`` -> ``{"loss_options": {"sigma": 4}}``; what comes later goes over what came before.

    Raises:
        ValueError: a name with a dot leads into something that holds no options.
    """
    values: dict[str, Any] = {}
    for name, value in given.items():
        *path, last = name.split(".")
        options = values
        for part in path:
            inner = options.get(part, {})
            if not isinstance(inner, dict):
                raise ValueError(f"{name}: {part} is {inner!r}, expected options")
            inner = options[part] = dict(inner)  # a copy: cells of a sweep share their fixed values
            options = inner
        options[last] = value
    return values
