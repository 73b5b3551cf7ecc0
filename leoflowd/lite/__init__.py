"""The laptop edition: embedded Postgres, workspace watcher. Nothing of the cluster imports this package."""
