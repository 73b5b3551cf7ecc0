"""The room of the cheap-task pool (roadmap, issue 3): waits as data, bounded probe workers, inline HTTP tasks.

Border: it will be a component of the tree beside `executors`, get waits from `store`, and report what fired through the
same inbox as tries do. `leoflow_sensors` holds the probes; nothing here imports `scheduler` or `executors`.
"""
