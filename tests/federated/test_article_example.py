"""The article's small classifier, all the way: Embedding -> SimpleRNN -> softmax, from a handful of Chinese sentences
to the bundle that a worker serves, by the commands that a user types."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from worker.bundle import load_bundle
from worker.features import TextEncoder, pad
from worker.scorer import OnnxScorer

pytestmark = pytest.mark.train

PARITY = 1e-6

SENTENCES = {
    "好评": [
        "味道很好，下次还会再来",
        "菜很新鲜，分量也足",
        "送得很快，汤还是热的",
        "服务员很热情，环境干净",
        "米饭香，豆腐嫩，很满意",
        "包装结实，一点没洒",
        "价格实在，全家都喜欢",
        "面条有嚼劲，好吃",
    ],
    "差评": [
        "等了两个小时，菜都凉了",
        "太咸了，根本吃不下",
        "少送了一份，电话也打不通",
        "肉不新鲜，有股怪味",
        "汤洒了一半，很失望",
        "米饭是硬的，不会再点",
        "态度差，还多收了钱",
        "油太多，吃完不舒服",
    ],
}
"""Written for this test."""


@pytest.fixture(scope="module")
def article(tmp_path_factory, train_command) -> SimpleNamespace:
    """The sentences, shared by three clients that the file names; the model, its figures, and its bundle."""
    directory = tmp_path_factory.mktemp("article")
    rows = [(text, label) for label, texts in SENTENCES.items() for text in texts]
    data, model = directory / "sentences.csv", directory / "model"
    with data.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("句子", "评价", "店"), *((*row, f"{i % 3}号店") for i, row in enumerate(rows))])
    source = ["--data", data, "--text-field", "句子", "--label-field", "评价", "--client-field", "店"]
    figures = directory / "figures.json"
    run(train_command("--preset", "example", *source, "--out", model, "--json", figures, small=False))
    bundle = run([sys.executable, "-m", "export", "--model", model, "--out", directory]).splitlines()[-1]
    lines = (model / "assets.extra" / "reference.jsonl").read_text(encoding="utf-8").splitlines()
    heldout = {json.loads(line)["text"] for line in lines}
    return SimpleNamespace(
        model=model,
        figures=json.loads(figures.read_text()),
        bundle=load_bundle(Path(bundle)),
        learned=[row for row in rows if row[0] not in heldout],
    )


def run(command: list[object]) -> str:
    return subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def token_ids(article) -> np.ndarray:
    """The sentences that were learned, `[N, T]`, padded to the longest."""
    (field,) = article.bundle.manifest.fields
    encoder = TextEncoder(article.bundle.vocabulary(field), max_tokens=field.max_tokens)
    return pad([encoder.encode(text).ids for text, _ in article.learned])


def test_it_fits_its_sentences(article, token_ids):
    assert article.figures["clients"] == 3
    assert len(article.learned) > 10
    probabilities = OnnxScorer(article.bundle).score(token_ids).probabilities
    labels = article.bundle.manifest.labels
    assert [labels[index] for index in probabilities.argmax(axis=1)] == [label for _, label in article.learned]


def test_it_keeps_parity_with_what_was_trained(article, token_ids):
    parity = article.bundle.manifest.parity
    assert parity.probes >= 100
    assert parity.max_abs_diff <= PARITY
    serve = tf.saved_model.load(str(article.model)).signatures["serving_default"]
    expected = serve(token_ids=tf.constant(token_ids))["probabilities"].numpy()
    np.testing.assert_allclose(OnnxScorer(article.bundle).score(token_ids).probabilities, expected, rtol=0, atol=PARITY)
