"""What the finished models write after fixed prompts, side by side."""

from collections.abc import Iterator

import pandas as pd

from muonlab.declare import text

KINDS = ("greedy", "sampled")


@text(
    title="text samples",
    section="evaluation",
    caption="What the tuned arms of **{title}** write after fixed prompts: greedily, and sampled "
    "with the same random numbers for all arms. Models of the first seed.",
)
def written_samples(samples_records: pd.DataFrame, sampling: dict, study: dict) -> str:
    """One table for each prompt: a row for each tuned arm, a column for each kind of text."""
    return "\n".join(_lines(samples_records, sampling, study)) + "\n"


def _lines(records: pd.DataFrame, sampling: dict, study: dict) -> Iterator[str]:
    seed = study["seeds"][0]
    yield f"# {study['title']}: text samples"
    yield ""
    yield (
        f"{sampling['tokens']} tokens after each prompt, by the finished models of seed {seed}; "
        f"sampled: temperature {sampling['temperature']:g}, from the {sampling['top_k']} most "
        "likely tokens, with the same random numbers for all arms. Below each text: the share of "
        "its pairs of tokens that it had written before; the mean over all seeds is last. ↵ is a "
        f"line end. Data: {study['data']}."
    )
    arms = [arm for arm in study["arms"] if arm["tuned"]]
    for number, prompt in records.drop_duplicates("prompt")[["prompt", "text"]].values:
        yield ""
        yield f"## `{_shown(prompt)}`"
        yield ""
        yield f"| arm | {' | '.join(KINDS)} |"
        yield "|---" * (len(KINDS) + 1) + "|"
        for arm in arms:
            own = records[(records.arm == arm["name"]) & (records.prompt == number)]
            cells = [_cell(own[own.kind == kind], seed) for kind in KINDS]
            yield f"| {arm['label']} | {' | '.join(cells)} |"


def _cell(rows: pd.DataFrame, seed: int) -> str:
    own = rows[rows.seed == seed]
    if own.empty:
        return "the run diverged"
    row = own.iloc[0]
    told = f"{row.repeated:.0%} repeated (mean {rows.repeated.mean():.0%})"
    return f"`{_shown(row.written)}` <br> {told}"


def _shown(written: str) -> str:
    """A text as code within one cell of a table."""
    shown = written.replace("`", "ˋ").replace("|", "¦").replace("\n", "↵").strip()
    return shown or "only spaces"
