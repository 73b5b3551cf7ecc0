"""`dag.py` -> the artifact, without Airflow: shim, loader, compiler, project files. Runs on laptops and in CI."""
