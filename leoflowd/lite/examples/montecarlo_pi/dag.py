"""### Pi by Monte Carlo

Eight workers throw darts at a square and count how many land in the circle. The share is pi / 4.
"""

import math
import random

from airflow.sdk import DAG, Param, task

WORKERS = 8

with DAG(
    "montecarlo_pi",
    schedule=None,
    params={"darts": Param(200_000, "Darts per worker", type="integer", minimum=1, maximum=5_000_000)},
    doc_md=__doc__,
):

    @task(retries=1)
    def throw(seed: int, params=None) -> int:
        # a generator of its own, seeded: a retry gives the same answer
        dice = random.Random(seed)
        return sum(dice.random() ** 2 + dice.random() ** 2 <= 1.0 for _ in range(params["darts"]))

    @task
    def estimate(hits: list, params=None) -> float:
        pi = 4 * sum(hits) / (len(hits) * params["darts"])
        print(f"pi is about {pi:.6f}, off by {abs(pi - math.pi):.6f}")
        return pi

    estimate([throw(seed) for seed in range(WORKERS)])
