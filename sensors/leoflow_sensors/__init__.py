"""Native sensors of the cheap-task pool: a module each, with a spec struct and an async `poke`. None yet."""
