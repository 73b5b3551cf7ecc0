"""The private routes of Airflow's UI (`/ui/...`); shapes are those of Airflow 3.2's own document."""
