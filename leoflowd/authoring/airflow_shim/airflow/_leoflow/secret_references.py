"""What stands for a secret while a file is compiled: the template that a task would write for it. ADR 74.

The artifact then holds `{{ var.value.api_token }}`, and the task's process, which loads the file again, the value. Text
may be made of a reference, and objects taken from one that stands for JSON; to decide by a value is refused, for it is
not known. Each loading spells references in a way of its own, so that what was computed from one is seen to vary.
"""

from __future__ import annotations

import json
import keyword
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

from airflow._leoflow.errors import AuthoringError, Location

TAKEN_APART = "a secret is taken apart"
_METHODS = frozenset(dir(dict))
"""To Jinja `.items` is the method, also of a mapping that has an item of this name."""
_folder = ""
_end = " }}"
_given: dict[str, str] = {}
"""Each reference that was handed out, as it is spelled in this loading, and as the artifact has it."""
_COMPARING = ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__")
_DECIDING = (
    *(*_COMPARING, "__len__", "__iter__", "__getitem__", "__contains__"),
    *("split", "rsplit", "splitlines", "partition", "rpartition", "startswith", "endswith", "find", "rfind", "index"),
    *("rindex", "count", "lower", "upper", "casefold", "title", "capitalize", "swapcase", "translate", "zfill"),
    *("removeprefix", "removesuffix", "isalnum", "isalpha", "isascii", "isdecimal", "isdigit", "isidentifier"),
    *("islower", "isnumeric", "isprintable", "isspace", "istitle", "isupper"),
)


def begin(folder: str, spelling: int) -> None:
    """`folder`: what lies in it is the author's; `spelling`: which of the loadings that are compared this is."""
    global _folder, _end
    _folder = folder + "/"
    _end = f"{' ' * (1 + spelling)}}}}}"


def given() -> dict[str, str]:
    return dict(_given)


def reference(root: str, *path: str | int, call: str = "") -> SecretText:
    """`reference("var.value", "api_token")`; `call`: what a method of it gives."""
    return _made(SecretText, root, path, call)


def json_reference(root: str, *path: str | int) -> SecretJson:
    """Of JSON whose shape is not known: what is taken from it is such a reference as well."""
    found = _made(SecretJson, root, path)
    found.root, found.path = root, path
    return found


class SecretText(str):
    """`{{ var.value.api_token }}`."""

    __slots__ = ("source",)
    source: str

    def __bool__(self) -> bool:
        return True  # an empty one is no secret

    def __hash__(self) -> int:
        return str.__hash__(self)

    def __int__(self) -> NoReturn:
        raise _refusal(self, "a number is made of a secret")

    __float__ = __index__ = __int__

    def strip(self, *_: Any) -> SecretText:
        return self

    lstrip = rstrip = replace = strip  # type: ignore[assignment]

    def __copy__(self) -> SecretText:
        return self

    def __deepcopy__(self, _: Any) -> SecretText:
        return self


class SecretJson(SecretText):
    """`{{ var.json.service }}`: `["key"]`, `.get("key")` and `[0]` give what stands for a part of it."""

    root: str
    path: tuple[str | int, ...]

    def __getitem__(self, name: Any) -> SecretJson:  # type: ignore[override]
        if not isinstance(name, (str, int)):
            raise _refusal(self, TAKEN_APART)
        return json_reference(self.root, *self.path, name)

    def get(self, name: str, default: Any = None) -> SecretJson:
        return self[name]

    def keys(self) -> NoReturn:
        raise _refusal(self, TAKEN_APART)

    values = items = pop = setdefault = copy = keys


def _made(cls: type[Any], root: str, path: tuple[str | int, ...], call: str = "") -> Any:
    source = root + "".join(map(_step, path)) + (f".{call}()" if call else "")
    text = f"{{{{ {source}{_end}"
    _given[text] = f"{{{{ {source} }}}}"
    found = cls(text)
    found.source = source
    return found


def _step(name: str | int) -> str:
    is_plain = isinstance(name, str) and name.isascii() and name.isidentifier() and not keyword.iskeyword(name)
    return f".{name}" if is_plain and name not in _METHODS else f"[{name!r}]"


class SecretNeeded(AuthoringError):
    """To decide by a secret, while a file is compiled."""

    holds_for_both = True


def _refusal(one: SecretText, what: str) -> AuthoringError:
    return SecretNeeded(
        f"{what} while the file is loaded: {{{{ {one.source} }}}}",
        "its value is known in tasks only, for what is read here ends in the DAG's artifact, which many may see; here "
        "it can be passed on, and be a part of texts",
        "read it in the task; if it is no secret, give it a name that promises none",
        _authors_line(),
    )


def _authors_line() -> Location | None:
    """The innermost one of the project, whichever library it has called."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not _is_authors(frame):
        frame = frame.f_back
    return None if frame is None else (frame.f_code.co_filename, frame.f_lineno)


def _guarded(name: str) -> Callable[..., Any]:
    original = getattr(str, name)
    what = "a secret is compared" if name in _COMPARING else TAKEN_APART

    def method(self: SecretText, *args: Any, **kwargs: Any) -> Any:
        caller = sys._getframe(1)
        if _is_authors(caller) or caller.f_code.co_filename == json.__file__:  # libraries look only to pass it on
            raise _refusal(self, what)
        return original(self, *args, **kwargs)

    method.__name__ = name
    return method


def _is_authors(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    return name.startswith(_folder) and "site-packages" not in name


for _name in _DECIDING:
    setattr(SecretText, _name, _guarded(_name))
