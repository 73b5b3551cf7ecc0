"""### Fan out, aggregate

One task per text counts its words, all at the same time; one task adds the counts up. The list comprehension makes
the tasks, and the reducer gets their results as a list, in the same order.
"""

from collections import Counter

from airflow.sdk import DAG, task

TEXTS = {
    "carroll": "the cat grinned and the cat vanished",
    "melville": "call me and the sea and the whale",
    "austen": "it is a truth and a wife and a fortune",
    "shelley": "the wind and the night and the storm",
}

with DAG("fan_out_aggregate", schedule=None, doc_md=__doc__):

    @task
    def count_words(text: str) -> list:
        # the result travels as JSON, so a list of pairs rather than a Counter
        return sorted(Counter(text.split()).items())

    @task
    def aggregate(counts: list) -> list:
        total = Counter()
        for pairs in counts:
            total.update(dict(pairs))
        return total.most_common(5)

    @task
    def show(top: list):
        for word, count in top:
            print(f"{word:>10} {'#' * count} {count}")

    show(aggregate([count_words.override(task_id=f"count_{name}")(text) for name, text in TEXTS.items()]))
