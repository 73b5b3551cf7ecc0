"""The room of the cluster's Redis: XCom payloads and live logs. Lite keeps both in Postgres and on disk.

Border: beside `store`, below every shell.
"""
