"""The room of object stores: task logs, and results that are too large for the database. `obstore` is known here only.

Border: beside `store`, below every shell. Nothing here decides anything; names of objects are made in `names`.
"""
