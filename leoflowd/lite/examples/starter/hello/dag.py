"""### Hello

Three tasks: one says hello, one counts, one sums up. Save this file and the new version is there within a second.
"""

from airflow.sdk import DAG, task

with DAG("hello", schedule=None, params={"name": "world"}, doc_md=__doc__):

    @task
    def greet(params=None):
        # `params` is filled in by name; change it in the form of the trigger button
        greeting = f"Hello, {params['name']}!"
        print(greeting)
        return greeting

    @task
    def count_letters(text: str) -> int:
        return sum(letter.isalpha() for letter in text)

    @task.bash
    def report(letters: int) -> str:
        return f"echo 'that greeting has {letters} letters, in {{{{ run_id }}}}'"

    # a task's return value is the next one's argument
    report(count_letters(greet()))
