"""The room of the cluster's Redis: XCom values (ADR 60) and the live ends of logs (ADR 61). Gone = slower.

Border: beside `store`, below every shell.
"""
