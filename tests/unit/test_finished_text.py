"""Finished language models: what they write, where their attention looks, and their benchmarks, as
jobs; and the figures of these and of training beside validation loss."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from test_language_training import corpus, settings_of  # noqa: F401 (a fixture)
from torch.nn import functional as F

from muonlab.measure.attention_patterns import (
    attention_probabilities,
    coarse_map,
    entropy,
    mean_distance,
    relative_entropy,
)
from muonlab.models.forward_pass import ForwardPass
from muonlab.probes import attention_patterns, multiple_choice, samples
from muonlab.probes.finished import FinishedRun
from muonlab.probes.job import load_part, measure
from muonlab.probes.samples import Asked, repeated_share, sampled, written
from muonlab.report.figures.attention_maps import attention as draw_attention
from muonlab.report.figures.generalisation import gaps, generalisation, smoothed
from muonlab.report.figures.run_costs import cost_records, run_costs
from muonlab.report.style import save
from muonlab.report.tables.attention import attention as tabulate_attention
from muonlab.report.texts.written_samples import written_samples
from muonlab.training.run import train_run

SAMPLING = {"prompts": ["muon adam", ""], "tokens": 12, "temperature": 0.8, "top_k": 5, "seed": 0}
LOOKING = {"examples": 20, "map_size": 8}


@pytest.fixture(scope="module")
def run(tmp_path_factory, corpus):  # noqa: F811
    folder = tmp_path_factory.mktemp("finished") / "run"
    train_run(settings_of(), "code", "observers", corpus, folder)
    return FinishedRun(folder, corpus)


# Attention


def test_attention_probabilities_give_the_output_of_the_fused_kernel():
    generator = torch.Generator().manual_seed(3)
    query = torch.randn(2, 4, 9, 6, generator=generator, dtype=torch.float64)
    key, value = torch.randn(2, 2, 2, 9, 6, generator=generator, dtype=torch.float64)
    p = attention_probabilities(query, key)
    key, wide = (x.repeat_interleave(2, 1) for x in (key, value))
    wanted = F.scaled_dot_product_attention(query, key, wide, is_causal=True)
    torch.testing.assert_close(p @ wide, wanted)
    same = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1, 1]] * 2)
    visible = (same[:, :, None] == same[:, None, :]).tril().unsqueeze(1)
    masked = attention_probabilities(query, key[:, ::2], visible)
    wanted = F.scaled_dot_product_attention(query, key, wide, attn_mask=visible)
    torch.testing.assert_close(masked @ wide, wanted)


def test_entropy_and_distance_of_uniform_and_of_certain_attention():
    t = 7
    uniform = torch.ones(t, t, dtype=torch.float64).tril()
    uniform = uniform / uniform.sum(-1, keepdim=True)
    places = torch.arange(t, dtype=torch.float64)
    torch.testing.assert_close(entropy(uniform), (places + 1).log())
    torch.testing.assert_close(mean_distance(uniform), places / 2)
    relative = relative_entropy(uniform)
    assert relative[0].isnan() and torch.allclose(relative[1:], torch.ones(t - 1).double())
    first = torch.zeros(t, t, dtype=torch.float64)
    first[:, 0] = 1
    assert not entropy(first).any() and torch.equal(mean_distance(first), places)
    assert not mean_distance(torch.eye(t)).any()


@pytest.mark.parametrize(("t", "size"), [(8, 8), (8, 4), (9, 4), (1, 8), (10, 3)])
def test_maps_are_block_means_that_keep_the_sum_of_each_query(t, size):
    p = torch.rand(t, t, generator=torch.Generator().manual_seed(t)).double().softmax(-1)
    small = coarse_map(p, size)
    block = math.ceil(t / size)
    assert small.shape[0] == math.ceil(t / block) <= size
    for i, j in np.ndindex(*small.shape):
        part = p[i * block : (i + 1) * block, j * block : (j + 1) * block]
        assert small[i, j].item() == pytest.approx(part.sum(1).mean().item())
    assert torch.allclose(small.sum(-1), torch.ones(len(small)).double())


def test_the_probe_reads_the_attention_that_the_model_computes(run, corpus):  # noqa: F811
    split = load_part("validation", run, corpus, "cpu")
    rows = list(attention_patterns.attention_patterns(run, split, LOOKING, "cpu"))
    table = pd.DataFrame(rows)
    model = run.model(run.weights(run.last))
    # Layer 0 by hand, from the embedding on, in one batch.
    from muonlab.data.batches import evenly
    from muonlab.models.transformer import visible_pairs

    inputs, _, documents = split.batch(evenly(len(split), 20))
    block = model.layers[0]
    with torch.no_grad():
        x = F.rms_norm(F.embedding(inputs, model.embedding), (16,), block.attention_norm, model.eps)
        rotation, visible = model.rotation_of(inputs.size(1)), visible_pairs(documents)
        query, key, value = block.attention.queries_keys_values(x, rotation)
        p = attention_probabilities(query, key, visible)
        out = F.linear((p @ value).transpose(1, 2).flatten(2), block.attention.output)
        run = ForwardPass(visible=visible, rotation=rotation)
        torch.testing.assert_close(out, block.attention(x, run), atol=1e-5, rtol=1e-4)
    own = table[(table.layer == 0) & (table.metric == "mean_distance")].sort_values("head")
    assert own.value.tolist() == pytest.approx(mean_distance(p).mean((0, 2)).tolist(), rel=1e-4)
    load = table[(table.metric == "expert_load") & (table.layer == 1)].value
    assert len(load) == 4 and load.sum() == pytest.approx(1)
    maps = table[(table.metric == "map") & (table.layer == 1)]
    assert len(maps) == 64
    assert maps.groupby("row").value.sum().tolist() == pytest.approx([1] * 8, rel=1e-4)


def test_a_diverged_run_has_neither_patterns_nor_samples(run, corpus, monkeypatch):  # noqa: F811
    broken = {name: w * math.nan for name, w in run.weights(run.last).items()}
    monkeypatch.setattr(run, "weights", lambda step: broken)
    split = load_part("validation", run, corpus, "cpu")
    assert not list(attention_patterns.attention_patterns(run, split, LOOKING, "cpu"))
    assert not list(samples.samples(run, SAMPLING, "cpu"))


# Samples


def test_greedy_text_is_the_most_likely_token_each_time_and_reads_the_last_context(run):
    model, encode = run.model(run.weights(run.last)), run.encoder()
    start, settings = encode("muon adam loss"), SAMPLING | {"tokens": 20}
    [made] = written(model, [Asked(0, "greedy", start)], settings, 16)
    whole = list(start)
    for token in made:
        with torch.no_grad():
            assert token == int(model(torch.tensor([whole[-16:]]))[0, -1].argmax())
        whole.append(token)


def test_texts_of_one_batch_are_those_that_are_written_alone(run):
    model, encode = run.model(run.weights(run.last)), run.encoder()
    settings = SAMPLING | {"tokens": 9}
    asked = [
        Asked(number, kind, encode(text))
        for number, text in enumerate(("muon", "rate norm rank batch seed width muon adam", "s"))
        for kind in ("greedy", "sampled")
    ]
    together = written(model, asked, settings, 16)
    assert together == [written(model, [one], settings, 16)[0] for one in asked]
    # Each prompt has random numbers of its own, and from one token sampling is greedy.
    sampled_text = [Asked(number, "sampled", asked[0].tokens) for number in (0, 0, 1)]
    first, again, other = written(model, sampled_text, settings, 16)
    assert first == again != other
    assert written(model, [asked[1]], settings | {"top_k": 1}, 16)[0] == together[0]
    assert written(model, [], settings, 16) == []


def test_sampled_tokens_have_the_probabilities_of_the_softmax_over_the_largest():
    logits = torch.tensor([1.0, 0.0, 2.0, -1.0, 1.5])
    generator = torch.Generator().manual_seed(0)
    drawn = [sampled(logits, 0.5, 3, generator) for _ in range(6000)]
    kept = torch.tensor([1.0, 2.0, 1.5]) / 0.5
    wanted = dict(zip((0, 2, 4), kept.softmax(0).tolist(), strict=True))
    assert set(drawn) == set(wanted)
    for token, p in wanted.items():
        assert drawn.count(token) / 6000 == pytest.approx(p, abs=5 * math.sqrt(p / 6000))


def test_the_share_of_repeated_pairs():
    assert repeated_share([1, 2, 1, 2, 1]) == 0.5
    assert repeated_share([1, 2, 3]) == repeated_share([1]) == repeated_share([]) == 0.0


# As jobs, and in the report


def test_all_three_are_jobs_whose_rows_the_report_shows(run, corpus, tmp_path):  # noqa: F811
    item = {"activity_label": "a", "ctx": "muon adam", "endings": ["loss", "step rate"], "label": 1}
    items = tmp_path / "items.jsonl"
    items.write_text("\n".join([json.dumps(item)] * 3))
    task = {"format": "hellaswag", "files": [str(items)], "name": None, "items": None}
    jobs = {
        multiple_choice: {"tasks": {"t": task}, "resamples": 100},
        samples: SAMPLING,
        attention_patterns: LOOKING,
    }
    found = {}
    for module, settings in jobs.items():
        name = module.__name__.rpartition(".")[2]
        split = "validation" if module is attention_patterns else ""
        job = {"make": f"{module.__name__}:{name}", "settings": settings, "along": None}
        target = tmp_path / f"{name}.parquet"
        measure(job | {"split": split, "seeds": [1]}, [run.folder], corpus, "cpu", target)
        found[name] = pd.read_parquet(target).assign(arm="muon")
    assert len(found["multiple_choice"]) == 6 and len(found["samples"]) == 4
    study = {
        **{"title": "Made up", "data": "words", "protocol": "fair", "seeds": [1], "alpha": 0.05},
        **{"interval": "95 %", "training": {"evaluate_on": "validation"}},
        "arms": [
            {"name": "muon", "label": "Muon", "tuned": True, "edges": {}},
            {"name": "lost", "label": "Lost", "tuned": True, "edges": {}},
        ],
    }
    told = written_samples(found["samples"], SAMPLING, study)
    assert "| Muon | `" in told and "the run diverged" in told
    assert all(line.count("|") == 4 for line in told.splitlines() if line.startswith("| "))
    table = tabulate_attention(found["attention_patterns"], study)
    assert {"relative_entropy", "mean_distance", "router_entropy"} <= set(table.metric)
    drawn = draw_attention(found["attention_patterns"], table, study)
    save(drawn, tmp_path / "a.svg", tmp_path / "a.png", tmp_path / "a.pdf")


def curves(seeds=(1, 2), steps=(0, 10, 20)):
    rows = []
    for arm in ("adamw", "muon"):
        for seed in seeds:
            for step in range(0, 20, 2):
                value = 5 - 0.1 * step + 0.1 * seed
                rows.append([arm, seed, step, "train", "loss", value])
            for step in steps:
                rows.append([arm, seed, step, "validation", "loss", 5.2 - 0.09 * step])
    return pd.DataFrame(rows, columns=["arm", "seed", "step", "split", "metric", "value"])


def test_gaps_are_taken_at_the_evaluations_and_running_means_within_a_run(tmp_path):
    metrics = curves()
    training = metrics[metrics.split == "train"]
    own = metrics[(metrics.split == "validation") & (metrics.arm == "muon")]
    found = gaps(own, training[training.arm == "muon"]).set_index(["seed", "step"]).value
    assert found[1, 10] == pytest.approx((5.2 - 0.9) - (5 - 1.0 + 0.1))
    assert found[2, 20] == pytest.approx((5.2 - 1.8) - (5 - 1.8 + 0.2))  # the last record is at 18
    means = smoothed(training, window=3)
    one = means[(means.arm == "muon") & (means.seed == 2)].set_index("step").value
    assert one[4] == pytest.approx(5 - 0.4 + 0.2)
    assert one[0] == pytest.approx(5 - 0.1 + 0.2)  # of two records
    study = {
        **{"title": "Made up", "data": "words", "protocol": "fair", "seeds": [1, 2]},
        **{"alpha": 0.05, "interval": "95 %", "training": {"evaluate_on": "validation"}},
        "arms": [
            {"name": name, "label": name, "tuned": True, "edges": {}} for name in ("adamw", "muon")
        ],
    }
    save(generalisation(metrics, study), tmp_path / "g.svg", tmp_path / "g.png", tmp_path / "g.pdf")


def test_costs_are_the_devices_on_a_gpu_and_the_processors_on_a_cpu(tmp_path):
    told = {"step_seconds": 0.5, "step_cpu_seconds": 0.4, "seconds": 9.0}
    told |= {"peak_host_bytes": 2**30, "peak_device_bytes": 2**31}
    runs = [{"arm": "adamw"}, {"arm": "muon"}, {"arm": "short"}]
    provenances = [
        told | {"device_type": "cpu"},
        told | {"device_type": "cuda"},
        {"device_type": "cpu", "seconds": 1.0, "step_cpu_seconds": None, "peak_host_bytes": None},
    ]
    found = cost_records(runs, provenances).set_index(["arm", "quantity"]).value.to_dict()
    assert found == {
        **{("adamw", "step_cpu_seconds"): 0.4, ("adamw", "seconds"): 9.0},
        **{("adamw", "memory"): 2.0**30, ("muon", "step_cpu_seconds"): 0.5},
        **{("muon", "seconds"): 9.0, ("muon", "memory"): 2.0**31, ("short", "seconds"): 1.0},
    }
    study = {
        **{"title": "Made up", "data": "words", "protocol": "fair", "seeds": [1]},
        **{"alpha": 0.05, "interval": "95 %"},
        "arms": [{"name": n, "label": n, "tuned": True, "edges": {}} for n in found_arms(runs)],
    }
    save(
        run_costs(runs, provenances, study),
        tmp_path / "c.svg",
        tmp_path / "c.png",
        tmp_path / "c.pdf",
    )


def found_arms(runs):
    return [run["arm"] for run in runs]
