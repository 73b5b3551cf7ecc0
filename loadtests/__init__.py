"""Measurements of a real Leoflow on the machine at hand. Never imported by the product."""
