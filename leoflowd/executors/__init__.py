"""Ways to run a try: `process` (Lite: the host's agent). Each takes `Dispatch`es and turns them into running tries."""
