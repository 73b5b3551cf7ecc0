"""The room of the Kubernetes API client (list, watch, create, delete); manifests will be built by pure functions.

Border: beside `store`, below every shell. `executors.pod_launcher` and `executors.pod_watcher` will use it; Lite never
does.
"""
