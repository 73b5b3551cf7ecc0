"""The cheap-task pool: what only waits, or makes one HTTP call, and so gets no process (ADR 13). Start with `pool.py`.

Nothing here imports `scheduler` or `executors`: waits come in through `contract.waits.Waits` and the table, and go out
through `contract.waits.WaitEnds`. `leoflow_sensors` holds the probes. `parts.py` puts everything together.
"""
