"""How much memory a training run requests from the scheduler: an upper bound, computed from the
settings of the run alone."""

BASE_MB = 1500  # Python, torch and a small model
# Bytes per parameter: weights, gradient, two moments, and copies for observers and checkpoints.
PER_PARAMETER = 4 * 10
# Numbers per token that are kept for the backward pass: in each layer about twenty times its width
# plus four times its feed-forward units; in the head the logits, their gradient, their softmax and
# a copy in float32.
LAYER_WIDTHS, LAYER_UNITS, LOGIT_COPIES = 20, 4, 4
VOCAB = 65536  # assumed size of a ready-made tokenizer, whose true size is not known here


def train_megabytes(config: dict, data: dict) -> int:
    """Megabytes for the run `config` on the data set `data`, both as they are in the plan."""
    model = config["model"]
    if model["name"] != "transformer":
        return BASE_MB
    vocab = VOCAB if data.get("tokenizer") else data["vocab_size"]
    tokens = config["training"]["batch_size"] * model["context"]
    units = model["feedforward"] * (min(model["top_k"], model["experts"]) or 1)
    layer = LAYER_WIDTHS * model["width"] + LAYER_UNITS * units
    scores = model["heads"] * model["context"]  # needed if the attention kernel is not fused
    kept = tokens * (model["layers"] * (layer + scores) + LOGIT_COPIES * vocab) * 4
    return BASE_MB + int((parameters(model, vocab) * PER_PARAMETER + kept) / 2**20)


def parameters(model: dict, vocab: int) -> int:
    """Number of parameters of a transformer, without those of the norms."""
    width, units = model["width"], model["feedforward"]
    matrices = 3 if model["activation"] == "swiglu" else 2
    feedforward = max(model["experts"], 1) * matrices * width * units + model["experts"] * width
    shared = (model["kv_heads"] or model["heads"]) / model["heads"]
    attention = int(width * width * (2 + 2 * shared))
    embeddings = vocab * width * (1 if model["tied"] else 2)
    return model["layers"] * (attention + feedforward) + embeddings
