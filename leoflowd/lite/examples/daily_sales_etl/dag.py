"""### Daily sales

Extract (two shops, side by side), transform, load. The numbers are invented from the run's date, so that running a
day again gives the same result: loading replaces the day instead of adding to it.
"""

import os
import random
import sqlite3
import tempfile
from datetime import datetime

from airflow.sdk import DAG, Label, TaskGroup, task

DATABASE = os.path.join(tempfile.gettempdir(), "leoflow_daily_sales.db")
PRODUCTS = {"tea": 3.2, "coffee": 4.5, "cake": 5.0}

with DAG(
    "daily_sales_etl",
    schedule="0 6 * * *",
    start_date=datetime(2024, 1, 1),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=True,
    doc_md=__doc__,
):

    @task
    def extract(shop: str, ds=None) -> list:
        dice = random.Random(f"{shop} {ds}")
        rows = [{"shop": shop, "product": dice.choice(list(PRODUCTS)), "count": dice.randint(1, 5)} for _ in range(40)]
        rows.append({"shop": shop, "product": "cake", "count": -1})  # a typing error, for `clean` to find
        return rows

    @task
    def clean(shops: list) -> list:
        rows = [row for shop in shops for row in shop]
        good = [row for row in rows if row["count"] > 0]
        print(f"{len(rows) - len(good)} of {len(rows)} rows dropped")
        return good

    @task
    def totals(rows: list) -> dict:
        revenue = dict.fromkeys(PRODUCTS, 0.0)
        for row in rows:
            revenue[row["product"]] += row["count"] * PRODUCTS[row["product"]]
        return {product: round(amount, 2) for product, amount in revenue.items()}

    sums = totals(clean([extract.override(task_id=f"extract_{shop}")(shop) for shop in ("north", "south")]))

    with TaskGroup("load", tooltip="Both ways out of the pipeline"):

        @task
        def warehouse(revenue: dict, ds=None) -> int:
            with sqlite3.connect(DATABASE) as db:
                db.execute("CREATE TABLE IF NOT EXISTS revenue (day, product, amount, PRIMARY KEY (day, product))")
                db.executemany("REPLACE INTO revenue VALUES (?, ?, ?)", [(ds, *item) for item in revenue.items()])
                return db.execute("SELECT count(*) FROM revenue").fetchone()[0]

        @task.bash
        def announce(revenue: dict) -> str:
            return f"echo 'revenue of {{{{ dag_run.run_after.date() }}}}: {sum(revenue.values()):.2f}'"

        warehouse(sums) >> Label("stored") >> announce(sums)
