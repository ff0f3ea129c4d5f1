"""Parameters and floating-point operations of a transformer, from its tensors' shapes alone."""

from muonlab.models.transformer import Transformer

EXPERTS = ("expert_up", "expert_gate", "expert_down")


def parameter_count(model: Transformer) -> int:
    """All parameters; a tied head counts once."""
    return sum(p.numel() for p in model.parameters())


def active_parameter_count(model: Transformer) -> int:
    """The parameters that one token's forward pass uses: of E experts, only k."""
    return parameter_count(model) - idle_parameters(model)


def idle_parameters(model: Transformer) -> int:
    """The parameters of the E − k experts that a token does not go to, over all layers."""
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

    P counts the entries of the matrices that the token is multiplied by, the head's too (tied or
    not) but not the embedding's, where rows are only looked up; 2 for a product and a sum, forward
    once and backward twice. The second term is attention's two products, query by key and
    probability by value, with the (context + 1) / 2 positions that a token sees on average: for
    long contexts half of the 12 · L · width · context of Chowdhery et al., PaLM (arXiv 2204.02311),
    appendix B, who count masked pairs too. Norms, activations, rotation and softmax are left out,
    as is usual for model-flops utilisation.
    """
    head = model.vocab * model.width
    matrices = sum(p.numel() for p in model.layers.parameters() if p.ndim > 1)
    products = matrices - idle_parameters(model) + head
    return 6 * products + 6 * len(model.layers) * model.width * (context + 1)
