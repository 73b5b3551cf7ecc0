"""The HTTP edge: Airflow's public API, the private routes of its UI, and our own pages."""
