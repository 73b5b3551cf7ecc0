"""The shim's own code; every public `airflow.*` name is an alias into here (see `names.py`).

Standard library only, Python 3.10 and newer: it runs in the DAG author's interpreter, not in ours.
"""
