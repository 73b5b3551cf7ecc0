"""The page that people read: how many compile, by source, and why the others do not, each reason counted."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence

from tests.corpus.trying import Result, Verdict

HEAD = """\
# {title}

Made by `make corpus`. Each file is compiled as it is, without a `leoflow.yaml`. Apart, and not in the share, are files
that

- *waits*: use what a later release brings (`cosmos`);
- *unpublished*: import a module that neither their repository nor any published package holds;
- *uninstalled*: need packages that are not installed where this ran, or cannot be (`--build` tries);
- *owner's*: read what only their owner has: a variable of the process, a file, the fields of a Variable. (One that is
  only read as text or number has a made-up value here);
- *Airflow's*: fail under Airflow's own packages as well, as they are installed where this ran.

| source | files | compile | waits | unpublished | uninstalled | owner's | Airflow's | refused | share |
|---|---|---|---|---|---|---|---|---|---|
"""
PUBLIC = "## Public folders\n"
"""Where the second half of the page begins; each half is written by a run of its own."""
PUBLIC_HEAD = """\

Made by `python -m tests.corpus FOLDER --page`: {files} files of {sources} public repositories, at most {sample} of a
repository, drawn by the digests of their names, each compiled as it is. Every repository weighs the same: a line is the
mean of the shares that it has in each.

| | mean share of a repository | files |
|---|---|---|
"""
SAID = {
    None: "compiles",
    Verdict.WAITS: "waits",
    Verdict.UNPUBLISHED: "unpublished",
    Verdict.UNINSTALLED: "uninstalled",
    Verdict.OWNERS: "owner's",
    Verdict.AIRFLOWS: "Airflow's",
    Verdict.REFUSED: "refused",
}
REASON_CHARS = 110
APART = (Verdict.WAITS, Verdict.UNPUBLISHED, Verdict.UNINSTALLED, Verdict.OWNERS, Verdict.AIRFLOWS)
ORDER = (Verdict.REFUSED, *reversed(APART))


def table(results: Sequence[Result], *, title: str) -> str:
    by_source: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        by_source[result.file.source].append(result)
    lines = [_row(source, by_source[source]) for source in sorted(by_source)]
    return HEAD.format(title=title) + "".join([*lines, _row("**all**", results)]) + _reasons(results)


def public(results: Sequence[Result], sample: int | None) -> str:
    """The shares of repositories, and reasons in a form that names none of them."""
    by_source: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        by_source[result.file.source].append(result)
    count = Counter(result.verdict for result in results)
    head = PUBLIC_HEAD.format(files=len(results), sources=len(by_source), sample=sample or "all")
    rows = [
        f"| {said} | {_mean(verdict, by_source.values()):.1f} % | {count[verdict]} |\n"
        for verdict, said in SAID.items()
    ]
    return PUBLIC + head + "".join(rows) + _public_share(by_source.values()) + _public_reasons(results)


def _mean(verdict: Verdict | None, sources: Collection[Sequence[Result]]) -> float:
    shares = [sum(one.verdict is verdict for one in found) / len(found) for found in sources]
    return 100 * sum(shares) / len(shares) if shares else 0.0


def _public_share(sources: Collection[Sequence[Result]]) -> str:
    """Of what is not apart."""
    counted = [
        (sum(one.is_compiled for one in found), sum(one.verdict is Verdict.REFUSED for one in found))
        for found in sources
    ]
    shares = [100 * compiled / (compiled + refused) for compiled, refused in counted if compiled + refused]
    mean = f"{sum(shares) / len(shares):.1f} %" if shares else "-"
    return f"\nOf what is not apart {mean} compile (the mean of the {len(shares)} repositories that have such files).\n"


def _public_reasons(results: Sequence[Result]) -> str:
    sources: dict[tuple[Verdict, str], list[str]] = defaultdict(list)
    for result in results:
        if result.error:
            sources[result.verdict or Verdict.REFUSED, _without_names(result)].append(result.file.source)
    lines = ["\n| files | repositories | | reason |\n|---|---|---|---|\n"]
    for (verdict, reason), found in sorted(
        sources.items(), key=lambda item: (ORDER.index(item[0][0]), -len(item[1]), item[0][1])
    ):
        lines.append(f"| {len(found)} | {len(set(found))} | {verdict.value} | {_cell(reason)} |\n")
    return "".join(lines)


def _without_names(result: Result) -> str:
    """Names of modules of Airflow stay, those of files, people and their variables do not."""
    what = re.sub(r"'(?!airflow\b)[^']*'", "'...'", result.reason.partition("; ")[0])
    return re.sub(r"(/[\w.+-]+)+", "...", re.sub(r"^(loading it raised \w+):.*", r"\1", what))[:REASON_CHARS]


def with_half(page: str, half: str) -> str:
    """The page with this half instead of the one that it has."""
    first, _, second = page.partition(PUBLIC)
    if half.startswith(PUBLIC):
        return f"{first.rstrip()}\n\n{half}"
    return f"{half.rstrip()}\n\n{PUBLIC}{second}" if second else half


def _row(source: str, results: Sequence[Result]) -> str:
    compiled = sum(result.is_compiled for result in results)
    count = Counter(result.verdict for result in results)
    counted = compiled + count[Verdict.REFUSED]
    share = f"{100 * compiled / counted:.0f} %" if counted else "-"
    cells = [source, len(results), compiled, *(count[one] for one in (*APART, Verdict.REFUSED)), share]
    return f"| {' | '.join(map(str, cells))} |\n"


def _reasons(results: Sequence[Result]) -> str:
    refused = [result for result in results if not result.is_compiled]
    if not refused:
        return ""
    counts = Counter((result.verdict, result.reason) for result in refused)
    example = {result.reason: result.file.shown for result in reversed(refused)}
    lines = ["\n## Why files do not compile\n\n| files | | reason | for example |\n|---|---|---|---|\n"]
    for (verdict, reason), count in sorted(
        counts.items(), key=lambda item: (ORDER.index(item[0][0] or Verdict.REFUSED), -item[1], item[0][1])
    ):
        shown = "" if verdict is None else verdict.value
        lines.append(f"| {count} | {shown} | {_cell(reason)} | `{_cell(example[reason])}` |\n")
    return "".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
