"""Run by the other interpreter of a `virtualenv` task, whatever Python 3 it is: calls one function.

It is copied into the folder that it is given, where it finds `call.json`, `function.py` and pickled `arguments`, and
leaves the pickled `result`, or in `error` the text of what was raised. It is run, never imported.
"""

import __future__

import importlib
import json
import os
import sys


def main(folder):
    with open(os.path.join(folder, "call.json"), encoding="utf-8") as file:
        call = json.load(file)
    with open(os.path.join(folder, "function.py"), encoding="utf-8") as file:
        code = compile(file.read(), call["file"], "exec", __future__.annotations.compiler_flag)
    names = {"__name__": "__main__", "__file__": call["file"], "virtualenv_string_args": call["string_args"]}
    exec(code, names)  # noqa: S102  the function is what it is here for
    pickling = importlib.import_module(call["serializer"])
    with open(os.path.join(folder, "arguments"), "rb") as file:
        arguments, keywords = pickling.load(file)
    try:
        value = names[call["name"]](*arguments, **keywords)
    except Exception as error:
        with open(os.path.join(folder, "error"), "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{type(error).__name__}: {error}")
        raise
    if value is not None:
        with open(os.path.join(folder, "result"), "wb") as file:
            pickling.dump(value, file)


if __name__ == "__main__":
    main(sys.argv[1])
