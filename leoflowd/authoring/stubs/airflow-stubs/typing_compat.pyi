# Made by `make docs` from the shim's signatures; do not edit.
from typing import Literal as Literal
from typing import Protocol as Protocol
from typing import TypeAlias as TypeAlias
from typing import TypedDict as TypedDict
