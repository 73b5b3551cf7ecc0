"""Airflow's public API (`/api/v2`) and its token routes (`/auth/token`), one module per resource."""
