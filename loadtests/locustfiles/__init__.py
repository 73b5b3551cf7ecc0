"""Locust scenarios, for people who know locust: `make load` runs each headless on a Lite of its own."""
