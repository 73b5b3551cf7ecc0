"""Airflow's own OpenAPI documents against a real Lite: what `make contract` runs (ADR 94)."""
