"""### Hyper-parameter search

Fits a straight line to noisy points by gradient descent, once per combination of learning rate and momentum, all in
parallel; the last task compares the errors on points that no model has seen. Plain Python, nothing to install.
"""

import itertools
import random

from airflow.sdk import DAG, task

LEARNING_RATES = (0.01, 0.05, 0.2)
MOMENTA = (0.0, 0.5, 0.9)


def points(seed: int, count: int) -> list:
    dice = random.Random(seed)
    return [(x, 2.5 * x - 1.0 + dice.gauss(0, 0.2)) for x in (dice.uniform(-1, 1) for _ in range(count))]


def mean_error(slope: float, offset: float, data: list) -> float:
    return sum((slope * x + offset - y) ** 2 for x, y in data) / len(data)


with DAG("hyperparameter_search", schedule=None, max_active_tasks=4, doc_md=__doc__):

    @task
    def train(rate: float, momentum: float) -> dict:
        data, slope, offset, pull, lift = points(1, 200), 0.0, 0.0, 0.0, 0.0
        for _ in range(60):
            errors = [(slope * x + offset - y, x) for x, y in data]
            pull = momentum * pull - rate * 2 * sum(error * x for error, x in errors) / len(data)
            lift = momentum * lift - rate * 2 * sum(error for error, _ in errors) / len(data)
            slope, offset = slope + pull, offset + lift
        print(f"y = {slope:.3f} x + {offset:.3f}")
        return {"rate": rate, "momentum": momentum, "error": mean_error(slope, offset, points(2, 100))}

    @task
    def best_of(models: list) -> dict:
        ranking = sorted(models, key=lambda model: model["error"])
        for model in ranking:
            print(f"rate {model['rate']:<5} momentum {model['momentum']:<4} error {model['error']:.4f}")
        return ranking[0]

    best_of(
        [
            train.override(task_id=f"train_{number}")(rate, momentum)
            for number, (rate, momentum) in enumerate(itertools.product(LEARNING_RATES, MOMENTA))
        ]
    )
