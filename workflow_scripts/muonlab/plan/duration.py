"""How many minutes a training run requests from a scheduler: an upper bound, computed from the
settings of the run alone.

The time of an update is a fixed part (launching small operations, the optimizer on small matrices)
and a part in proportion to its floating point operations, 6 for each parameter and token (forward
and backward pass; Kaplan et al. 2020, section 2.1). Both constants are of slow machines, so that a
run on an ordinary one ends long before. A run that is stopped by the limit nevertheless goes on
from its checkpoint, with twice the time.
"""

import math

from muonlab.plan.memory import VOCAB, parameters

BASE_MINUTES = (
    10  # two starts of Snakemake, torch, reading the data, the evaluations of a short run
)
STEP_SECONDS = 0.1
OPERATIONS_PER_SECOND = {"cpu": 5e9, "gpu": 5e12}
# Evaluations, observers and the optimizer's own work, as a multiple of the updates' time.
OVERHEAD = 2.0
EXAMPLES = 60_000  # images of an epoch, at most: the size of FashionMNIST's training set
TOKENS = 10**8  # of an epoch of text whose length the config does not bound


def train_minutes(config: dict, data: dict, gpu: bool = False) -> int:
    """Minutes for the run `config` on the data set `data`, both as they are in the plan."""
    training, model = config["training"], config["model"]
    text = model["name"] == "transformer"
    examples = training["batch_size"] * training["accumulation"]
    length = model["context"] if text else 1
    steps = training["steps"] or training["epochs"] * _updates_of_epoch(
        data, text, examples, length
    )
    operations = 6 * examples * length * _active_parameters(model, data)
    seconds = STEP_SECONDS + operations / OPERATIONS_PER_SECOND["gpu" if gpu else "cpu"]
    return BASE_MINUTES + math.ceil(OVERHEAD * steps * seconds / 60)


def _updates_of_epoch(data: dict, text: bool, examples: int, length: int) -> int:
    if not text:
        return math.ceil(EXAMPLES / examples)
    # A token has at least one byte.
    tokens = data.get("max_tokens") or data.get("max_bytes") or TOKENS
    return math.ceil(tokens / (examples * length))


def _active_parameters(model: dict, data: dict) -> int:
    """Parameters that one token or image meets: of a mixture of experts, `top_k` of the experts."""
    if model["name"] != "transformer":
        # A picture has at most 28 × 28 pixels and ten classes; the hidden layers are square.
        return (784 + 10 + model["width"] * model["depth"]) * model["width"]
    vocab = VOCAB if data.get("tokenizer") else data["vocab_size"]
    met = min(model["top_k"], model["experts"]) or 0
    return parameters(model | {"experts": met}, vocab)
