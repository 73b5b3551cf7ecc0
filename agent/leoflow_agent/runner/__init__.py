"""Runs in the author's interpreter (Python 3.10 or newer), standard library only; `start.py` is the entry.

The agent imports only `linux` of it; it starts `start.py` as a script, which loads the package under the private
name `leoflow_runner`, so that no module of ours can hide one of the author's.
"""
