"""What evaluation shares with training is found and cut out; near duplicates are counted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muonlab.data import tokens as tokens_module
from muonlab.data.corpus import SPLITS, Document
from muonlab.data.near_duplicates import (
    SHINGLE,
    SketchIndex,
    near_duplicate_rates,
    similarity,
    sketch,
)
from muonlab.data.spans import SHORTEST_PIECE, Cut, HashTable, cut_out, shared_runs, span_hashes
from muonlab.data.text import write_splits
from muonlab.data.tokens import CHUNK, SplitFiles, TokenWriter, join, load_tokens
from muonlab.io.errors import UserError

END = 0
U2 = np.dtype("<u2")


def write(folder, split, documents):
    folder.mkdir(parents=True, exist_ok=True)
    files = SplitFiles(folder, split, U2)
    with TokenWriter(files, END) as writer:
        for document in documents:
            writer.add(np.asarray(document, dtype=U2))
    return files


def spans(tokens, width):
    tokens = np.asarray(tokens).tolist()
    return {tuple(tokens[i : i + width]) for i in range(len(tokens) - width + 1)}


def documents_of(files):
    return [document.tolist() for document in files.in_documents()]


@given(st.lists(st.lists(st.integers(1, 9), max_size=20), max_size=30), st.integers(1, 40))
def test_token_files_hold_documents(tmp_path_factory, documents, chunk):
    files = write(tmp_path_factory.mktemp("files"), "train", documents)
    expected = [[*document, END] for document in documents]
    assert documents_of(files) == expected
    flat = sum(expected, [])
    tokens, offsets = files.map()
    assert tokens.tolist() == flat and len(files) == len(flat)
    assert offsets.tolist() == np.cumsum([0, *map(len, expected)]).tolist()
    for overlap in (0, 5):
        for start, piece in files.chunks(overlap, chunk):
            assert piece.tolist() == flat[start : start + chunk + overlap]


@pytest.mark.parametrize("at_once", [1, 4, 100])
def test_documents_are_read_whole_however_long_they_are(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(tokens_module, "CHUNK", at_once)
    documents = [[1, 2], [], [3] * 9, [4]]
    files = write(tmp_path, "train", documents)
    assert documents_of(files) == [[*document, END] for document in documents]


def test_splits_are_joined(tmp_path):
    one, two = write(tmp_path, "a", [[1, 2], [3]]), write(tmp_path, "b", [[4, 5]])
    tokens, offsets = join([one.map(), two.map()])
    assert tokens.tolist() == [1, 2, 0, 3, 0, 4, 5, 0] and offsets.tolist() == [0, 3, 5, 8]
    assert tokens.dtype == U2


def test_a_file_that_is_not_what_its_digest_says_is_refused(tmp_path):
    write(tmp_path, "train", [[1, 2], [3]])
    facts = {"dtype": "uint16", "splits": {"train": {"tokens": 5, "documents": 2}}}
    assert load_tokens(tmp_path, "train", facts).documents == 2
    (tmp_path / "train.tokens").write_bytes(b"\1\0")
    with pytest.raises(UserError, match="holds 1 tokens in 2 documents, but digest.json says 5"):
        load_tokens(tmp_path, "train", facts)


@given(st.lists(st.integers(0, 3), max_size=80), st.integers(1, 70))
def test_spans_are_equal_where_their_hashes_are(tokens, width):
    hashes = span_hashes(np.array(tokens, dtype=U2), width)
    naive = [tuple(tokens[i : i + width]) for i in range(len(tokens) - width + 1)]
    assert len(hashes) == len(naive)
    first = {}
    for span, value in zip(naive, hashes.tolist(), strict=True):
        assert first.setdefault(span, value) == value
    assert len(set(first.values())) == len(first)


@given(st.lists(st.integers(0, 99)), st.lists(st.integers(0, 99)))
def test_a_hash_table_finds_what_is_in_it(held, asked):
    spread = np.uint64(0x9E3779B97F4A7C15)
    table = HashTable(np.array(held, dtype=np.uint64) * spread)
    asked = np.array(asked, dtype=np.uint64) * spread
    places, slots = table.find(asked)
    assert places.tolist() == np.flatnonzero(np.isin(asked, table.sorted)).tolist()
    np.testing.assert_array_equal(table.sorted[slots], asked[places])


corpora = st.lists(st.lists(st.integers(1, 2), max_size=25), min_size=1, max_size=8)


@settings(max_examples=60)
@given(corpora, corpora, st.integers(3, 9), st.integers(1, 50))
def test_shared_runs_are_those_of_a_naive_search(tmp_path_factory, train, other, width, block):
    folder = tmp_path_factory.mktemp("runs")
    train, other = write(folder, "train", train), write(folder, "other", other)
    known = spans(train.map().tokens, width)
    tokens = other.map().tokens.tolist()
    covered = np.zeros(len(tokens), dtype=bool)
    for i in range(len(tokens) - width + 1):
        if tuple(tokens[i : i + width]) in known:
            covered[i : i + width] = True
    runs = shared_runs(other, train, width, hashes=block)
    found = np.zeros(len(tokens), dtype=bool)
    for start, stop in runs:
        found[start:stop] = True
    np.testing.assert_array_equal(found, covered)
    assert (runs[1:, 0] > runs[:-1, 1]).all()


@settings(max_examples=60)
@given(corpora, corpora, st.integers(3, 9))
def test_after_the_cuts_nothing_is_shared(tmp_path_factory, train, other, width):
    folder = tmp_path_factory.mktemp("cuts")
    train, other = write(folder, "train", train), write(folder, "other", other)
    before, cut = len(other), Cut()
    while len(runs := shared_runs(other, train, width)):
        cut_out(other, runs, END, len, cut)
    assert not spans(other.map().tokens, width) & spans(train.map().tokens, width)
    content = sum(len(document) - 1 for document in documents_of(other))
    assert cut.tokens_removed == cut.bytes_removed <= before - content


def test_documents_without_shared_spans_stay_as_they_are(tmp_path):
    shared = list(range(100, 180))
    train = write(tmp_path, "train", [[1] * 30 + shared + [2] * 30])
    kept = list(range(200, 300))
    head, tail = list(range(300, 340)), list(range(400, 400 + SHORTEST_PIECE - 1))
    other = write(tmp_path, "other", [kept, head + shared + tail, shared])
    cut = Cut()
    cut_out(other, shared_runs(other, train), END, len, cut)
    assert documents_of(other) == [[*kept, END], [*head, END]]
    assert cut == Cut(2, 2 * len(shared) + len(tail), 2 * len(shared) + len(tail))


def shingles(tokens):
    width = max(min(SHINGLE, len(tokens)), 1)
    return spans(tokens, width)


def jaccard(one, other):
    one, other = shingles(one), shingles(other)
    return len(one & other) / len(one | other) if one | other else 0.0


def edited(document, edits, random):
    document = document.copy()
    document[random.choice(len(document), edits, replace=False)] = random.integers(1, 5000, edits)
    return document


def test_sketches_of_short_documents_give_the_exact_jaccard_similarity():
    random = np.random.default_rng(0)
    for length in (1, 3, 5, 40, 120):
        one = random.integers(1, 50, length).astype(U2)
        other = edited(one, max(length // 20, 1), random)
        assert similarity(sketch(one), sketch(other)) == pytest.approx(jaccard(one, other))


def test_sketches_of_long_documents_estimate_it():
    random = np.random.default_rng(1)
    errors = []
    for trial in range(60):
        one = random.integers(1, 5000, 3000).astype(U2)
        other = edited(one, 20 + 5 * trial, random)
        errors.append(similarity(sketch(one), sketch(other)) - jaccard(one, other))
    assert abs(np.mean(errors)) < 4 * 0.03 / np.sqrt(len(errors))
    assert np.std(errors) < 0.04 and np.max(np.abs(errors)) < 0.12


def test_an_index_finds_what_a_comparison_of_all_pairs_finds():
    random = np.random.default_rng(2)
    originals = [random.integers(1, 300, random.integers(3, 600)).astype(U2) for _ in range(60)]
    index = SketchIndex([sketch(document) for document in originals])
    for document in originals:
        asked = sketch(edited(document, max(len(document) // 60, 1), random))
        expected = [i for i, own in enumerate(index.sketches) if similarity(own, asked) >= 0.6]
        assert index.close_to(asked, 0.6) == expected
    assert SketchIndex([]).close_to(sketch(originals[0]), 0.5) == []


def test_the_rate_of_near_duplicates_against_exact_similarities(tmp_path):
    random = np.random.default_rng(3)
    train = [random.integers(1, 5000, 150).astype(U2) for _ in range(50)]
    held = [edited(train[i], edits, random) for i, edits in enumerate([0, 1, 2, 4, 8, 16])]
    held += [random.integers(1, 5000, 150).astype(U2) for _ in range(4)]
    expected = sum(max(jaccard(one, other) for other in train) >= 0.8 for one in held)
    assert 0 < expected < 6
    files = {"validation": write(tmp_path, "validation", held)}
    rates = near_duplicate_rates(files, write(tmp_path, "train", train), 0.8)
    assert rates["validation"]["near_duplicates"] == expected
    assert rates["validation"]["rate"] == pytest.approx(expected / 10)


def test_a_sketch_of_both_documents_is_no_larger_than_that_of_one():
    """Of {0 … 3} and {2 … 5} the four smallest together are {0 … 3}, and two are in both."""
    one, other = np.arange(4, dtype=np.uint64), np.arange(2, 6, dtype=np.uint64)
    assert similarity(one, other, size=4) == 0.5
    assert similarity(one, other, size=6) == pytest.approx(2 / 6)


def test_a_span_that_lies_across_two_pieces_of_training_is_found(tmp_path):
    random = np.random.default_rng(0)
    train = random.integers(1, 60_000, CHUNK + 200)
    shared = train[CHUNK - 30 : CHUNK + 34]
    own = random.integers(1, 60_000, (2, 70))
    evaluation = write(tmp_path, "test", [np.concatenate([own[0], shared, own[1]])])
    runs = shared_runs(evaluation, write(tmp_path, "train", [train]))
    assert runs.tolist() == [[70, 134]]


@pytest.mark.parametrize(
    ("before", "stays"), [(SHORTEST_PIECE, True), (SHORTEST_PIECE - 1, False), (1, False)]
)
def test_a_piece_of_the_shortest_length_stays(tmp_path, before, stays):
    files = write(tmp_path, "test", [[5] * before + [6] * 70])
    cut = Cut()
    cut_out(files, np.array([[before, before + 70]]), END, lambda tokens: len(tokens), cut)
    assert documents_of(files) == ([[5] * before + [END]] if stays else [])
    assert cut.tokens_removed == 70 + (0 if stays else before)


class Counting:
    """An encoder of which each word is the token of its length."""

    end_of_text = END

    def encode(self, texts):
        for text in texts:
            yield np.array([len(word) for word in text.split()], dtype=U2)

    def decode(self, tokens):
        return " ".join("x" * token for token in tokens.tolist())


@pytest.mark.parametrize("budget", [*range(1, 14), None])
def test_a_budget_of_any_size_is_met_to_the_token(tmp_path, budget):
    """Documents of 3, 4 and 2 tokens and their ends, twelve in all, one in each split."""
    documents = [Document(0, "a bb ccc"), Document(1, "d ee fff gggg"), Document(2, "hh i")]
    files = {split: SplitFiles(tmp_path, split, U2) for split in SPLITS}
    sizes = write_splits(documents, files, Counting(), budget, None)
    written = sum(len(part) for part in files.values())
    # A document that would be its end alone is left out.
    alone = budget in (1, 5, 10)
    assert written == (12 if budget is None else min(budget - alone, 12))
    kept = {split: documents_of(part) for split, part in files.items()}
    for split in SPLITS:
        tokens = [document[:-1] for document in kept[split]]
        assert sizes[split] == sum(len(Counting().decode(np.array(t))) for t in tokens)


def test_a_document_that_training_has_word_for_word_is_a_near_duplicate_at_any_threshold(tmp_path):
    documents = np.random.default_rng(0).integers(1, 9000, (4, 60))
    train = write(tmp_path, "train", documents[:3])
    evaluation = {"test": write(tmp_path, "test", documents[2:])}
    assert near_duplicate_rates(evaluation, train, 1.0)["test"] == {
        "documents_compared": 2,
        "near_duplicates": 1,
        "rate": 0.5,
    }


@pytest.mark.parametrize("place", [CHUNK - 65, CHUNK - 1, CHUNK])
def test_a_span_at_the_border_of_two_pieces_of_evaluation_is_found(tmp_path, place):
    random = np.random.default_rng(1)
    evaluation = random.integers(1, 60_000, CHUNK + 200)
    files = write(tmp_path, "test", [evaluation])
    train = write(tmp_path, "train", [evaluation[place : place + 64]])
    assert shared_runs(files, train).tolist() == [[place, place + 64]]
