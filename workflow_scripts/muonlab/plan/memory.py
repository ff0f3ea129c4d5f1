"""How much memory a training run asks for: a bound for schedulers, from its settings alone."""

BASE_MB = 1500  # Python, torch and a small model
# Bytes a parameter: weights, gradient, two moments, copies for monitors, checks and checkpoints.
PER_PARAMETER = 4 * 10
# Floats kept a token for the backward pass: in each layer some twenty times its width and four
# times its feed-forward; of the head logits, their gradient, their softmax and a copy in float32.
LAYER_WIDTHS, LAYER_UNITS, LOGIT_COPIES = 20, 4, 4
VOCAB = 65536  # where a ready-made tokenizer says how many entries there are


def train_megabytes(config: dict, data: dict) -> int:
    """Megabytes for the run `config` on the data set `data`, both as the plan has them."""
    model = config["model"]
    if model["name"] != "transformer":
        return BASE_MB
    vocab = VOCAB if data.get("tokenizer") else data["vocab_size"]
    tokens = config["training"]["batch_size"] * model["context"]
    units = model["feedforward"] * (min(model["top_k"], model["experts"]) or 1)
    layer = LAYER_WIDTHS * model["width"] + LAYER_UNITS * units
    scores = model["heads"] * model["context"]  # where attention is not fused
    kept = tokens * (model["layers"] * (layer + scores) + LOGIT_COPIES * vocab) * 4
    return BASE_MB + int((parameters(model, vocab) * PER_PARAMETER + kept) / 2**20)


def parameters(model: dict, vocab: int) -> int:
    """Parameters of a transformer, norms left out."""
    width, units = model["width"], model["feedforward"]
    matrices = 3 if model["activation"] == "swiglu" else 2
    feedforward = max(model["experts"], 1) * matrices * width * units + model["experts"] * width
    shared = (model["kv_heads"] or model["heads"]) / model["heads"]
    attention = int(width * width * (2 + 2 * shared))
    embeddings = vocab * width * (1 if model["tied"] else 2)
    return model["layers"] * (attention + feedforward) + embeddings
