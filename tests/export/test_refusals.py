"""Models that cannot become a bundle: one clear line, exit status 1, and nothing is left behind."""

import shutil

import msgspec
import pytest

from export.__main__ import main

pytestmark = pytest.mark.export


@pytest.fixture
def refusal(tmp_path, capsys):
    """Exports a model that must be refused and returns the message."""

    def run(model, *options):
        out = tmp_path / "bundles"
        assert main(["--model", str(model), "--out", str(out), *options]) == 1
        assert not out.exists()
        captured = capsys.readouterr()
        assert captured.err.startswith("error: ")
        assert captured.err.count("\n") == 1
        return captured.err.removeprefix("error: ").rstrip("\n")

    return run


@pytest.fixture
def save_function(tmp_path, card, write_assets):
    """Saves a model that is one function of token ids: signature `serving_default` with input `name`."""
    import tensorflow as tf

    def save(function, *, dtype=tf.int32, name="token_ids", variables=(), **card_fields):
        path = tmp_path / "function"
        module = tf.Module()
        module.weights = list(variables)
        spec = tf.TensorSpec([None, None], dtype, name=name)
        signature = tf.function(function, input_signature=[spec])
        tf.saved_model.save(module, str(path), signatures={"serving_default": signature})
        write_assets(path, msgspec.structs.replace(card, **card_fields))
        return path

    return save


def answer(token_ids):
    """An even answer over three labels, and even attention."""
    import tensorflow as tf

    keep = tf.cast(token_ids != 0, tf.float32)
    return {
        "probabilities": tf.ones([tf.shape(token_ids)[0], 3]) / 3,
        "attention": keep / tf.reduce_sum(keep, axis=1, keepdims=True),
    }


@pytest.mark.parametrize("name", ["token_ids", "words"])
def test_model_that_is_one_function_passes(save_function, card, tmp_path, name):
    """The refusals below are about what they change, not about the rest."""
    fields = [msgspec.structs.replace(card.fields[0], input=name)]
    assert main(["--model", str(save_function(answer, name=name, fields=fields)), "--out", str(tmp_path / "out")]) == 0


def test_no_saved_model(refusal, tmp_path):
    assert f"no SavedModel at {tmp_path / 'missing'}" in refusal(tmp_path / "missing")


def test_unreadable_saved_model(refusal, save_model, tmp_path):
    broken = shutil.copytree(save_model("gru"), tmp_path / "broken")
    (broken / "saved_model.pb").write_bytes(b"\x00 not a protobuf")
    assert "is not a SavedModel that TensorFlow can load" in refusal(broken)


def test_no_assets(refusal, save_model, tmp_path):
    bare = shutil.copytree(save_model("gru"), tmp_path / "bare", ignore=shutil.ignore_patterns("assets.extra"))
    assert "assets.extra/model.json cannot be read" in refusal(bare)


def test_signature_is_missing(refusal, save_model):
    message = refusal(save_model("gru", leave_out="serving_default"))
    assert "has no signature 'serving_default' (found: unpadded)" in message


@pytest.mark.parametrize("name", ["token_ids", "probabilities", "attention"])
def test_tensor_is_missing(refusal, save_function, name):
    def renamed(token_ids):
        return {key + "_2" * (key == name): value for key, value in answer(token_ids).items()}

    path = save_function(renamed, name="ids" if name == "token_ids" else "token_ids")
    assert f"signature 'serving_default' has no tensor '{name}', only" in refusal(path)


def test_tensor_has_another_type(refusal, save_function):
    import tensorflow as tf

    message = refusal(save_function(answer, dtype=tf.int64))
    assert "tensor 'token_ids' is int64 (None, None), expected int32" in message


def test_labels_and_weights_differ(refusal, save_function):
    path = save_function(answer, labels=["refund", "praise"])
    assert "tensor 'probabilities' is float32 (None, 3), expected float32 [None, 2]" in refusal(path)


def test_vocabulary_and_weights_differ(refusal, save_model, tmp_path):
    longer = shutil.copytree(save_model("gru"), tmp_path / "longer")
    with (longer / "assets.extra" / "vocabulary.txt").open("a") as vocabulary:
        vocabulary.writelines(f"word{n}\n" for n in range(100))
    assert "Do vocabulary.txt and the weights belong together?" in refusal(longer)


def test_weight_that_is_not_finite(refusal, save_function):
    import tensorflow as tf

    # Token 15 alone would meet it: an answer may never show it.
    table = tf.Variable(tf.one_hot(15, 16, on_value=float("nan"), off_value=1.0), name="table")

    def look_up(token_ids):
        outputs = answer(token_ids)
        return {**outputs, "probabilities": outputs["probabilities"] * table[token_ids[0, 0]]}

    path = save_function(look_up, variables=[table])
    message = refusal(path)
    assert f"{path}: the weight 'table:0' is not finite: its training diverged" in message
    assert "lower training.client_learning_rate" in message


@pytest.mark.parametrize("name", ["probabilities", "attention"])
def test_answer_that_is_not_finite(refusal, save_function, name):
    def overflow(token_ids):
        outputs = answer(token_ids)
        return {**outputs, name: outputs[name] * 1e38 * 1e38}

    path = save_function(overflow)
    message = refusal(path)
    assert f"{path} answers with {name} that are not finite: its training diverged" in message
    assert "lower training.client_learning_rate" in message


def test_traced_for_training(refusal, save_function):
    import tensorflow as tf

    def drop(token_ids):
        outputs = answer(token_ids)
        return {**outputs, "probabilities": tf.nn.dropout(outputs["probabilities"], 0.5)}

    assert "signature 'serving_default' was traced for training: its graph holds Random" in refusal(save_function(drop))


def test_operator_without_onnx_equivalent(refusal, save_function):
    import tensorflow as tf

    def unusual(token_ids):
        outputs = answer(token_ids)
        return {**outputs, "probabilities": tf.math.lgamma(outputs["probabilities"])}

    message = refusal(save_function(unusual))
    assert "signature 'serving_default' gives no valid ONNX graph: No Op registered for Lgamma" in message


def test_attention_that_looks_at_padding(refusal, save_function):
    import tensorflow as tf

    def blind(token_ids):
        return {**answer(token_ids), "attention": tf.nn.softmax(tf.zeros_like(token_ids, tf.float32))}

    assert "attention 'tokens' looks at padding" in refusal(save_function(blind))


def test_parity_failure(refusal, save_model):
    message = refusal(save_model("lstm", attention=False))
    assert "ONNX Runtime and TensorFlow disagree: 'probabilities' differs by" in message
    assert "save the model without it" in message


@pytest.mark.parametrize("name", ["../elsewhere", ""])
def test_name_that_is_no_directory_of_its_own(refusal, save_model, name):
    assert f"{name!r} cannot name a bundle" in refusal(save_model("gru"), "--name", name)
