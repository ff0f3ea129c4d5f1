"""Text data sets as a whole: splits that share nothing, budgets, determinism, hub, real text."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from muonlab.data.corpus import SPLITS, content_digests, normalised
from muonlab.data.sections import opened
from muonlab.data.sources.hub import hub_documents
from muonlab.data.text import prepare
from muonlab.data.tokenizer import END_OF_TEXT, Encoder, read_tokenizer, train_tokenizer
from muonlab.data.tokens import load_tokens
from muonlab.data.windows import Windows
from muonlab.io.errors import UserError

LIBRARY = Path(__file__).parents[2] / "workflow_scripts"
WORDS = [f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in ("n", "rt", "l", "sk", "m")]
LICENCE = " ".join(random.Random("licence").choices(WORDS, k=150))
COMMON = {
    "vocab_size": 400,
    "tokenizer": None,
    "max_tokens": None,
    "validation": 0.2,
    "test": 0.2,
    "split_seed": 0,
    "near_duplicates": 0.8,
}


def known_documents(count=120):
    """Documents of known content: each has a number that no other has; every third starts with one
    licence text, some are there twice, some with one word changed, some are very short."""
    documents = []
    for i in range(count):
        words = random.Random(i).choices(WORDS, k=200)
        body = f"number{i} " + " ".join(words)
        documents.append(f"{LICENCE}\n{body}" if i % 3 == 0 else body)
        if i % 10 == 1:
            documents.append(body + "\n")
        if i % 10 == 2:
            documents.append(body.replace(words[100], "changed", 1))
        if i % 10 == 3:
            documents.append(f"short {i}")
    return documents


def local(path, documents, **changes):
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents))
    section = {"source": "local", "files": [str(path)], "field": "text", "document_start": None}
    return COMMON | section | changes


def prepared(config, folder):
    prepare("toy", config, folder)
    return json.loads((folder / "digest.json").read_text())


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A prepared corpus of known documents: its folder, digest.json and documents."""
    folder = tmp_path_factory.mktemp("toy")
    documents = known_documents()
    facts = prepared(local(folder / "toy.jsonl", documents), folder / "out")
    return folder / "out", facts, documents


def texts_of(folder, facts, split):
    encoder = Encoder(read_tokenizer(folder / "tokenizer.json"), "")
    tokens, offsets = load_tokens(folder, split, facts)
    assert (tokens[offsets[1:] - 1] == facts["end_of_text"]).all()
    assert (tokens == facts["end_of_text"]).sum() == len(offsets) - 1
    pairs = zip(offsets[:-1], offsets[1:], strict=True)
    return [encoder.decode(tokens[start : stop - 1]) for start, stop in pairs]


def spans(tokens):
    return {tokens[i : i + 64].tobytes() for i in range(len(tokens) - 64 + 1)}


def test_no_evaluation_window_shares_a_document_or_a_span_with_training(toy):
    """The guarantee on which a validation loss rests. Every window, whatever its length and place,
    is a part of its split's file, so that the spans of the whole file are checked."""
    folder, facts, documents = toy
    train = load_tokens(folder, "train", facts)
    trained_on, training_spans = texts_of(folder, facts, "train"), spans(train.tokens)
    # The corpus would break the rule if nothing were done: a licence on both sides.
    assert any(LICENCE in text for text in trained_on)
    for split in ("validation", "test"):
        part = load_tokens(folder, split, facts)
        assert len(Windows(part.tokens, part.offsets, 100)) > 20
        assert not spans(part.tokens) & training_spans
        own = texts_of(folder, facts, split)
        assert not set(map(normalised, own)) & set(map(normalised, trained_on))
        assert not any(LICENCE in text for text in own)
        assert facts["shared_spans"][split]["documents_cut"] > 0


def test_every_document_is_in_the_split_of_its_content(toy):
    folder, facts, documents = toy
    place = {normalised(text): content_digests(text, 0)[1] for text in documents}
    assert facts["duplicates_removed"] == len(documents) - len(place)
    kept = {normalised(text) for text in texts_of(folder, facts, "train")}
    assert kept == {text for text, where in place.items() if where >= 0.4}
    for split, low, high in (("validation", 0, 0.2), ("test", 0.2, 0.4)):
        own = " \n ".join(text for text, where in place.items() if low <= where < high)
        for text in texts_of(folder, facts, split):
            assert normalised(text.replace("\ufffd", "")) in own


def test_what_the_digest_says(toy):
    folder, facts, documents = toy
    assert set(contents(folder)) == {
        "digest.json",
        "tokenizer.json",
        *(f"{split}.{kind}" for split in SPLITS for kind in ("tokens", "offsets")),
    }
    assert (facts["kind"], facts["vocab"], facts["dtype"]) == ("text", 400, "uint16")
    assert facts["read"]["documents"] == len(documents)
    assert facts["read"]["bytes"] == sum(map(len, documents))
    for split in SPLITS:
        texts, told = texts_of(folder, facts, split), facts["splits"][split]
        assert told["documents"] == len(texts)
        assert told["bytes"] == sum(len(text.encode()) for text in texts)
        assert (folder / f"{split}.tokens").stat().st_size == 2 * told["tokens"]
    train = facts["splits"]["train"]
    assert facts["bytes_per_token"] == train["bytes"] / train["tokens"]
    changed = [facts["near_duplicates"][split]["near_duplicates"] for split in SPLITS[1:]]
    assert sum(changed) > 0


def test_the_same_input_gives_the_same_bytes(toy, tmp_path):
    folder, _, documents = toy
    config = local(tmp_path / "toy.jsonl", documents)
    prepare("toy", config, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(folder)
    prepare("toy", config | {"split_seed": 1}, tmp_path / "other")
    assert contents(tmp_path / "other")["train.tokens"] != contents(folder)["train.tokens"]


def test_the_bytes_do_not_depend_on_the_number_of_threads(toy, tmp_path):
    folder, _, documents = toy
    config = local(tmp_path / "toy.jsonl", documents)
    code = (
        "import json, sys, pathlib; from muonlab.data.text import prepare;"
        "prepare('toy', json.loads(sys.argv[1]), pathlib.Path(sys.argv[2]), threads=2)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "RAYON_NUM_THREADS"}
    command = [sys.executable, "-c", code, json.dumps(config), str(tmp_path / "two")]
    subprocess.run(command, check=True, env=environment | {"PYTHONPATH": str(LIBRARY)})
    assert contents(tmp_path / "two") == contents(folder)


@pytest.mark.parametrize("given_tokenizer", [False, True], ids=["trained", "given"])
@pytest.mark.parametrize("budget", [5000, 9876])
def test_a_budget_is_met_exactly(toy, tmp_path, monkeypatch, given_tokenizer, budget):
    # Nothing is cut out here, which would take tokens off the budget again.
    monkeypatch.setattr("muonlab.data.text.separate", lambda *_: SimpleNamespace(bytes_removed=0))
    monkeypatch.setattr("muonlab.data.text.asdict", lambda value: vars(value))
    folder, _, documents = toy
    tokenizer = str(folder / "tokenizer.json") if given_tokenizer else None
    config = local(tmp_path / "toy.jsonl", documents, max_tokens=budget, tokenizer=tokenizer)
    facts = prepared(config, tmp_path / "out")
    assert sum(facts["splits"][split]["tokens"] for split in SPLITS) == budget
    for split in SPLITS:
        texts = texts_of(tmp_path / "out", facts, split)
        assert facts["splits"][split]["bytes"] == sum(len(text.encode()) for text in texts)


def test_a_budget_ends_the_reading(tmp_path, monkeypatch):
    read = 0

    def endless(*_):
        nonlocal read
        while True:
            read += 1
            yield f"{read} " + " ".join(random.Random(read).choices(WORDS, k=60))

    monkeypatch.setattr("muonlab.data.sources.stdlib.stdlib_documents", endless)
    config = COMMON | {"source": "stdlib", "max_bytes": None, "max_tokens": 20_000}
    facts = prepared(config, tmp_path)
    assert facts["read"]["documents"] <= read < 2000
    left = sum(facts["splits"][split]["tokens"] for split in SPLITS)
    removed = sum(facts["shared_spans"][split]["tokens_removed"] for split in SPLITS[1:])
    assert left <= 20_000 <= left + removed + 200


def test_the_standard_library_is_a_corpus(tmp_path):
    config = COMMON | {"source": "stdlib", "max_bytes": 400_000, "vocab_size": 300}
    facts = prepared(config, tmp_path)
    assert facts["source"] == {"name": "stdlib", "python": sys.version.split()[0]}
    assert facts["read"]["bytes"] <= 400_000
    assert all(facts["splits"][split]["tokens"] > 100 for split in SPLITS)


def test_a_failed_attempt_leaves_nothing_and_the_next_one_cleans_up(tmp_path):
    config = local(tmp_path / "toy.jsonl", known_documents())
    (tmp_path / "toy.jsonl").write_text('{"text": "a"}\n{broken')
    out = tmp_path / "out"
    with pytest.raises(UserError, match="toy.jsonl, line 2: is not JSON"):
        prepare("toy", config, out)
    assert not list(out.iterdir())
    (out / ".work").mkdir()
    (out / ".work" / "documents").write_text("of a process that was killed")
    prepare("toy", local(tmp_path / "toy.jsonl", known_documents()), out)
    assert not (out / ".work").exists()


WRONG = {
    "one document": (["only one"], {}, "data.toy: .*1 documents were read|no training document"),
    "all the same": (["the same"] * 50, {}, "split is empty|no training document"),
    "nothing": ([], {}, "no training document was read"),
    "pattern": (["a"], {"document_start": "("}, "data.toy.document_start: .* not a regular exp"),
    "all shared": (
        [f"{i}\n{LICENCE}" for i in range(60)],
        {"vocab_size": 257},
        "the validation split is empty after 64-token spans that it shares with training were cut",
    ),
}


@pytest.mark.parametrize("documents, changes, message", WRONG.values(), ids=WRONG)
def test_a_corpus_that_cannot_be_split_is_one_sentence(tmp_path, documents, changes, message):
    with pytest.raises(UserError, match=message) as caught:
        prepare("toy", local(tmp_path / "toy.jsonl", documents, **changes), tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out" / "digest.json").exists()


HUB = COMMON | {
    "source": "hub",
    "name": "someone/corpus",
    "config": None,
    "split": "train",
    "field": "text",
    "revision": None,
    "max_tokens": 20_000,
}


def reach_hub(monkeypatch, records, commit="c0ffee"):
    """A hub that holds one data set; returns what it is asked for."""
    import datasets
    import huggingface_hub

    asked = {}

    def load_dataset(name, config, **options):
        asked.update(options, name=name, config=config)
        return iter(records)

    def dataset_info(self, name, revision, timeout):
        return SimpleNamespace(sha=commit)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
    return asked


def test_a_hub_data_set_is_streamed_at_one_commit(tmp_path, monkeypatch):
    records = ({"text": text, "id": i} for i, text in enumerate(known_documents(1000)))
    asked = reach_hub(monkeypatch, records)
    facts = prepared(HUB, tmp_path / "out")
    assert asked == {
        "name": "someone/corpus",
        "config": None,
        "split": "train",
        "revision": "c0ffee",
        "streaming": True,
    }
    assert facts["source"]["revision"] == "c0ffee"
    assert next(records)["id"] < 900  # the budget ended the reading


def test_a_hub_data_set_of_tokens_gives_the_documents_that_were_tokenized(tmp_path, monkeypatch):
    """Blocks of one length, as such data sets have them: documents go on from block to block."""
    documents = list(known_documents(60))
    tokenizer = train_tokenizer(documents, 400)
    (tmp_path / "tokenizer.json").write_text(tokenizer.to_str())
    end = tokenizer.token_to_id(END_OF_TEXT)
    stream = [token for text in documents for token in [*tokenizer.encode(text).ids, end]]
    blocks = [stream[i : i + 50] for i in range(0, len(stream), 50)]
    own = {"field": "input_ids", "tokenizer": str(tmp_path / "tokenizer.json")}
    section = opened(HUB | own)
    reach_hub(monkeypatch, [{"input_ids": block} for block in blocks])
    assert list(hub_documents(section, "c0ffee", "data.toy.name")) == documents
    reach_hub(monkeypatch, [{"input_ids": block} for block in blocks])
    facts = prepared(HUB | own, tmp_path / "out")
    assert facts["source"]["revision"] == "c0ffee" and facts["splits"]["train"]["tokens"] > 0


def failing(records):
    yield from records
    raise ConnectionError("the line is dead\nand more")


HUB_FAULTS = {
    "field": ([{"body": "a", "id": 1}], {}, "record 1 of someone/corpus has no text in the field"),
    "network": (failing([{"text": "a"}]), {}, r"stopped after 1 records \(the line is dead\)$"),
    "tokens of nothing": (
        [{"text": [1, 2]}],
        {},
        "the field 'text' of someone/corpus holds tokens; name the tokenizer that made them",
    ),
    "text among tokens": (
        [{"text": [1, 2]}, {"text": "a"}],
        {"tokenizer": "tokens"},
        "record 2 of someone/corpus has no tokens in the field 'text'",
    ),
    "no budget": ([], {"max_tokens": None}, "data.toy.max_tokens: must be set"),
}


@pytest.mark.parametrize("records, changes, message", HUB_FAULTS.values(), ids=HUB_FAULTS)
def test_what_is_wrong_on_the_hub_is_one_sentence(tmp_path, monkeypatch, records, changes, message):
    reach_hub(monkeypatch, records)
    if changes.get("tokenizer") == "tokens":
        file = tmp_path / "tokenizer.json"
        file.write_text(train_tokenizer(["a b"], 257).to_str())
        changes = {"tokenizer": str(file)}
    with pytest.raises(UserError, match=message):
        prepare("toy", HUB | changes, tmp_path / "out")


@pytest.mark.parametrize("offline", ["0", "1"])
def test_without_a_network_the_hub_is_one_sentence_at_once(tmp_path, offline):
    """In a process of its own, whose requests go to a port where nothing listens."""
    code = """
import json, sys, pathlib
from muonlab.data.sections import opened
from muonlab.data.sources.hub import hub_documents
from muonlab.data.text import prepare
from muonlab.io.errors import UserError
for section in json.loads(sys.argv[1]):
    try:
        prepare("toy", section, pathlib.Path(sys.argv[2]))
    except UserError as mistake:
        print(mistake)
"""
    given = local(tmp_path / "a.jsonl", known_documents(), tokenizer="someone/model")
    nowhere = {
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HUB_OFFLINE": offline,
        "HF_HOME": str(tmp_path / "cache"),
        "PYTHONPATH": str(LIBRARY),
    }
    started = time.monotonic()
    command = [sys.executable, "-c", code, json.dumps([HUB, given]), str(tmp_path / "out")]
    done = subprocess.run(command, env=os.environ | nowhere, capture_output=True, text=True)
    assert time.monotonic() - started < 20, "the libraries' own retries take 23 s each"
    data, tokenizer = done.stdout.splitlines()
    assert "data.toy.name: the data set someone/corpus cannot be read from the hub" in data
    assert (
        "data.toy.tokenizer: the tokenizer someone/model cannot be downloaded from the hub"
        in tokenizer
    )


def test_a_local_folder_is_read_through_datasets(tmp_path, monkeypatch):
    """The real library, without a network: a data set in a folder goes by its path."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    place = tmp_path / "corpus"
    place.mkdir()
    local(place / "train.jsonl", known_documents(200))
    facts = prepared(HUB | {"name": str(place)}, tmp_path / "out")
    assert facts["source"]["revision"] is None
    assert facts["read"]["documents"] > 50
    with pytest.raises(UserError, match="the split nowhere of .* cannot be opened"):
        prepare("toy", HUB | {"name": str(place), "split": "nowhere"}, tmp_path / "out")


@pytest.mark.skipif("MUONLAB_DATA" not in os.environ, reason="MUONLAB_DATA names no real data")
def test_real_wikitext(tmp_path):
    """WikiText-2's validation text has 60 articles (Merity et al., arXiv 1609.07843, table 1)."""
    path = Path(os.environ["MUONLAB_DATA"]) / "wikitext-2" / "valid.txt"
    section = {"source": "local", "files": [str(path)], "field": "text"}
    config = COMMON | section | {"document_start": "^ = [^=]", "vocab_size": 1000}
    facts = prepared(config, tmp_path)
    assert facts["read"]["documents"] == 60 and facts["duplicates_removed"] == 0
    assert sum(facts["splits"][split]["documents"] for split in SPLITS) == 60
    assert facts["read"]["bytes"] == pytest.approx(path.stat().st_size, abs=5)


PEAK = """
import json, sys, pathlib
from muonlab.data.sections import opened
from muonlab.data.sources.hub import hub_documents
from muonlab.data.text import prepare
prepare("toy", json.loads(sys.argv[1]), pathlib.Path(sys.argv[2]))
# Not ru_maxrss: a process starts with that of the one that started it.
status = pathlib.Path("/proc/self/status").read_text()
print(int(status.split("VmHWM:")[1].split()[0]) / 1024)
"""


def synthetic(path, megabytes):
    """Text of a Zipf law, documents of some 4,000 bytes."""
    drawn, size = np.random.default_rng(megabytes), 0
    words = np.array([f"{drawn.choice(WORDS)}{drawn.choice(WORDS)}{i}" for i in range(30_000)])
    with open(path, "w") as file:
        while size < megabytes * 1e6:
            size += file.write("=== \n" + " ".join(words[drawn.zipf(1.3, 400) % 30_000]) + "\n")
    section = {"source": "local", "files": [str(path)], "field": "text", "document_start": "^==="}
    return COMMON | section | {"vocab_size": 4096, "validation": 0.1, "test": 0.1}


@pytest.mark.slow
def test_memory_does_not_grow_with_the_text(tmp_path):
    """Beyond the tokenizer's 20 MB of text only 16 bytes a document and hashes of the evaluation
    splits grow, the latter up to a bound."""
    peaks = {}
    for megabytes in (1, 40, 200):
        config = synthetic(tmp_path / "text.txt", megabytes)
        command = [sys.executable, "-c", PEAK, json.dumps(config), str(tmp_path / "out")]
        environment = os.environ | {"PYTHONPATH": str(LIBRARY)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        peaks[megabytes] = float(done.stdout)
    print(f"peak MB by MB of text: {peaks}")
    assert peaks[200] < peaks[40] + 100 and peaks[200] < 300
