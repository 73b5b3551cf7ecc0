"""The Kubernetes API, as far as pods need it (ADR 59). Beside `store`, below every shell; Lite never uses it.

`credentials` says where the API server is and who we are, `api` speaks to it, `watch` keeps up with it, `objects` reads
its pods, `pod_spec` writes ours.
"""
