"""A language study on a user's own text, by three lines of YAML."""

import json
import os
from pathlib import Path

import pytest

SMALL = """\
  moe:
    data: mine
    model: {context: 16, width: 16, heads: 2, feedforward: 16, experts: 2}
    training: {steps: 12, eval_every: 6, warmup_steps: 2, batch_size: 4}
    arms:
      adamw: {grid: {lr: [0.01], beta1: [0.9]}}
      muon: {grid: {lr: [0.01], momentum: [0.95]}}
    tuning: {seeds: [1001]}
    seeds: [1, 2]
"""
OTHERS = "  fashion: null\n  ablation: null\n  dynamics: null\n  comparison: null\n"


def dirty_text(folder):
    """Paragraphs with empty lines, NULs and bytes that are no UTF-8 between and inside them."""
    sentences = [
        f"sentence {n} of paragraph {p} says {p * n}." for p in range(600) for n in range(9)
    ]
    paragraphs = [" ".join(sentences[i : i + 9]) for i in range(0, len(sentences), 9)]
    raw = b"\n\n\n   \n\n".join(p.encode() for p in paragraphs)
    raw = raw.replace(b"paragraph 7 ", b"para\x00graph\xff\xfe 7 ")
    (folder / "mine.txt").write_bytes(b"\n\n\x00\n" + raw + b"\n\n")


def test_the_study_runs_on_a_file_with_empty_lines_nuls_and_bytes_that_are_no_text(project):
    dirty_text(project.folder)
    data = "data:\n  mine: {source: local, files: [mine.txt], vocab_size: 300}\nstudies:\n"
    (project.folder / "tiny.yaml").write_text(data + SMALL + OTHERS)
    outcome = project.snakemake("moe")
    assert outcome.code == 0, outcome.err
    digest = json.loads((project.folder / "results/mini/data/mine/digest.json").read_text())
    assert digest["policy"]["nuls_removed"] > 0 and digest["policy"]["invalid_utf8_replaced"] > 0
    assert (project.folder / "results/mini/moe/figures/learning_curves.svg").exists()
    assert project.snakemake("moe").nothing_to_do


@pytest.mark.skipif("MUONLAB_DATA" not in os.environ, reason="needs MUONLAB_DATA, real text")
def test_the_study_runs_on_wikitext(project):
    file = Path(os.environ["MUONLAB_DATA"]) / "wikitext-2" / "valid.txt"
    line = f"  mine: {{source: local, files: ['{file}'], document_start: '^ = [^=]'}}"
    (project.folder / "tiny.yaml").write_text(f"data:\n{line}\nstudies:\n" + SMALL + OTHERS)
    outcome = project.snakemake("results/mini/moe/tuning/selection.json")
    assert outcome.code == 0, outcome.err


def test_a_text_file_that_is_not_there_is_one_sentence(project):
    data = "data:\n  mine: {source: local, files: [missing.txt]}\nstudies:\n"
    (project.folder / "tiny.yaml").write_text(data + SMALL + OTHERS)
    outcome = project.snakemake("moe")
    assert outcome.code != 0 and "Traceback" not in outcome.err
    assert "data.mine.files" in outcome.err and "missing.txt" in outcome.err
