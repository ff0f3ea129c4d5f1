"""Duplicates, splits by document, the spool, and the tokenizer."""

import random
import string

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from muonlab.data.corpus import (
    SPLITS,
    DigestSet,
    Document,
    Reading,
    Spool,
    content_digests,
    normalised,
    split_documents,
)
from muonlab.data.tokenizer import (
    END_OF_TEXT,
    Encoder,
    cut_lines,
    grouped,
    read_tokenizer,
    train_tokenizer,
)
from muonlab.io.errors import UserError

TEXTS = [
    f"document {i}: " + " ".join(random.Random(i).choices(["alpha", "beta", "gamma"], k=50))
    for i in range(60)
]


def split(texts, seed=0, validation=0.1, test=0.1):
    reading = Reading()
    return list(split_documents(texts, validation, test, seed, reading)), reading


@given(st.lists(st.integers(0, 50) | st.integers(0, 2**64 - 1)))
def test_a_digest_set_is_a_set(digests):
    digest_set, reference = DigestSet(full=4), set()
    for digest in digests:
        assert digest_set.add(digest) == (digest not in reference)
        reference.add(digest)


def test_equal_documents_are_kept_once():
    texts = ["one  text\n", "one text", "caf\u00e9", "cafe\u0301", "another"]
    documents, reading = split(texts)
    assert [text for _, text in documents] == ["one  text\n", "caf\u00e9", "another"]
    assert (reading.documents, reading.duplicates) == (5, 2)


def test_shares_and_independence_of_the_splits():
    texts = [f"text {i}" for i in range(20_000)]
    documents, _ = split(texts, validation=0.1, test=0.2)
    shares = np.bincount([place for place, _ in documents]) / len(texts)
    # Four standard deviations of a binomial share.
    np.testing.assert_allclose(shares, [0.7, 0.1, 0.2], atol=4 * np.sqrt(0.25 / 20_000))
    assert SPLITS == ("train", "validation", "test")
    other = dict((text, place) for place, text in split(texts[::-1], validation=0.1, test=0.2)[0])
    assert all(other[text] == place for place, text in documents)
    seeded = np.array([content_digests(text, 1)[1] for text in texts])
    unseeded = np.array([content_digests(text, 0)[1] for text in texts])
    assert abs(np.corrcoef(seeded, unseeded)[0, 1]) < 4 / np.sqrt(20_000)


@given(st.text(), st.text())
def test_documents_are_equal_by_their_normalised_text(one, other):
    equal = content_digests(one, 0) == content_digests(other, 0)
    assert equal == (normalised(one) == normalised(other))
    assert normalised(normalised(one)) == normalised(one)


def test_what_was_read_has_one_hash():
    hashes = []
    for texts in (["ab", "c"], ["a", "bc"], ["ab", "c"], ["c", "ab"]):
        _, reading = split(texts)
        hashes.append(reading.sha256)
    assert hashes[0] == hashes[2] and len(set(hashes)) == 3


@given(st.lists(st.tuples(st.integers(0, 2), st.text())))
def test_a_spool_gives_back_what_it_took(tmp_path_factory, documents):
    spool = Spool(tmp_path_factory.mktemp("spool") / "documents")
    documents = [Document(*document) for document in documents]
    spool.fill(iter(documents), None)
    assert list(spool) == documents
    assert spool.bytes == sum(len(text.encode()) for _, text in documents)


def test_a_sample_is_even_bounded_and_of_training_documents(tmp_path):
    spool = Spool(tmp_path / "documents")
    documents = [Document(i % 3, f"{i:04d}" * 10) for i in range(900)]
    spool.fill(iter(documents), None)
    taken = [int(text[:4]) for text in spool.sample(2000)]
    assert len(taken) == 50 and all(i % 3 == 0 for i in taken)
    assert max(np.diff(taken)) <= 2 * min(np.diff(taken))
    assert len(list(spool.sample(10**9))) == 300


def test_a_spool_stops_at_its_limit_and_leaves_the_rest(tmp_path):
    documents = iter([Document(0, "a" * 10)] * 10)
    spool = Spool(tmp_path / "documents")
    spool.fill(documents, 25)
    assert len(list(spool)) == 3 and len(list(documents)) == 7


@pytest.fixture(scope="module")
def encoder():
    return Encoder(train_tokenizer(TEXTS, 300), "data.toy.tokenizer")


@settings(max_examples=50)
@given(texts=st.lists(st.text() | st.just("a b <|endoftext|>\n")))
def test_text_survives_the_tokenizer(encoder, texts):
    encoded = list(encoder.encode(texts))
    assert [encoder.decode(tokens) for tokens in encoded] == texts
    for tokens in encoded:
        assert encoder.end_of_text not in tokens
        assert tokens.dtype == np.uint16 and (tokens < encoder.vocab).all()


def test_the_end_of_a_text_is_shown_where_a_model_writes_it(encoder):
    (tokens,) = encoder.encode(["a b"])
    assert encoder.decode(np.append(tokens, encoder.end_of_text)) == f"a b{END_OF_TEXT}"


def test_the_vocabulary(encoder):
    assert encoder.vocab == 300
    assert encoder.tokenizer.id_to_token(encoder.end_of_text) == END_OF_TEXT
    assert Encoder(train_tokenizer(TEXTS, 257), "").vocab == 257
    assert Encoder(train_tokenizer(["ab"], 1000), "").vocab < 1000


def test_training_a_tokenizer_is_deterministic():
    assert train_tokenizer(TEXTS, 400).to_str() == train_tokenizer(list(TEXTS), 400).to_str()


def test_long_texts_are_encoded_in_pieces(encoder, monkeypatch):
    text = "\n".join(TEXTS)
    assert "".join(cut_lines(text, 500)) == text
    pieces = list(cut_lines(text, 500))
    assert all(piece.endswith("\n") for piece in pieces[:-1]) and len(pieces) > 10
    assert list(cut_lines("x" * 25, 10)) == ["x" * 10, "x" * 10, "x" * 5]
    assert list(cut_lines("", 10)) == [""]
    (whole,) = encoder.encode([text])
    monkeypatch.setattr("muonlab.data.tokenizer.cut_lines", lambda text: cut_lines(text, 500))
    (pieced,) = encoder.encode([text])
    assert encoder.decode(pieced) == text
    assert len(pieced) < 1.02 * len(whole)


def test_groups_keep_the_order_and_bound_the_size():
    texts = [string.ascii_lowercase[:n] for n in (3, 4, 20, 1, 1, 0)]
    assert list(grouped(texts, 6)) == [texts[:2], texts[2:3], texts[3:]]


def test_a_tokenizer_that_cannot_be_used_is_one_sentence(tmp_path):
    from tokenizers import Tokenizer, models

    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(UserError, match="a.json: is not a tokenizer.json") as caught:
        read_tokenizer(tmp_path / "a.json")
    assert "\n" not in str(caught.value)
    bare = Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    with pytest.raises(UserError, match="data.x.tokenizer: the tokenizer has no end of text"):
        Encoder(bare, "data.x.tokenizer")


def test_a_saved_tokenizer_is_read_back(encoder, tmp_path):
    (tmp_path / "tokenizer.json").write_text(encoder.saved)
    again = Encoder(read_tokenizer(tmp_path / "tokenizer.json"), "")
    assert again.saved == encoder.saved
    for one, two in zip(encoder.encode(TEXTS), again.encode(TEXTS), strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_large_vocabulary_takes_four_bytes():
    from tokenizers import Tokenizer, models

    words = {f"w{i}": i for i in range(70_000)} | {"[UNK]": 70_000}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.add_special_tokens([END_OF_TEXT])
    encoder = Encoder(tokenizer, "")
    assert encoder.vocab == 70_002 and encoder.dtype == np.dtype("<u4")
    (tokens,) = encoder.encode(["w69999"])
    assert tokens.tolist() == [69_999]
