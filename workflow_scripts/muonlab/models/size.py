"""Counts a transformer's parameters and floating-point operations from the shapes of its
tensors."""

from muonlab.models.transformer import Transformer

EXPERTS = ("expert_up", "expert_gate", "expert_down")


def parameter_count(model: Transformer) -> int:
    """The number of all parameters. A tied head and embedding count once."""
    return sum(p.numel() for p in model.parameters())


def active_parameter_count(model: Transformer) -> int:
    """The number of parameters that the forward pass of one token uses: only k of E experts
    count."""
    return parameter_count(model) - idle_parameters(model)


def idle_parameters(model: Transformer) -> int:
    """The number of parameters, over all layers, of the E − k experts that a token does not use."""
    return sum(
        (block.experts.experts - block.experts.top_k)
        * block.experts.up[0].numel()
        * (2 if block.experts.gate is None else 3)
        for block in model.layers
        if block.sparse
    )


def flops_per_token(model: Transformer, context: int) -> int:
    """Floating-point operations of forward and backward pass for one token of a sequence of
    `context` tokens: 6 P + 6 · L · width · (context + 1).

    P is the number of entries of the matrices that the token is multiplied by. It includes the head
    (tied or not) but not the embedding, whose rows are only looked up. The factor 6 is a product
    and a sum for each entry, once forward and twice backward. The second term is for the two
    products of attention, query by key and probability by value, over the (context + 1) / 2
    positions that a token sees on average. For long contexts it is half of the
    12 · L · width · context of Chowdhery et al., PaLM (arXiv 2204.02311), appendix B, who also
    count masked pairs. Norms, activations, rotation and softmax are left out, as is usual for
    model-flops utilisation.
    """
    head = model.vocab * model.width
    matrices = sum(p.numel() for p in model.layers.parameters() if p.ndim > 1)
    products = matrices - idle_parameters(model) + head
    return 6 * products + 6 * len(model.layers) * model.width * (context + 1)
