"""Published base models as their headers and configs describe them, without a weight."""

from transformers import LlamaConfig

from finetune_trainer.base_model import BaseModel, TensorInfo, base_model


def llama(*, hidden: int, layers: int, heads: int, kv_heads: int, inner: int, vocabulary: int, tied: bool) -> BaseModel:
    """A model of the Llama family."""
    width = hidden // heads * kv_heads
    shapes = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (width, hidden),
        "self_attn.v_proj": (width, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
    }
    tensors = [
        TensorInfo(f"model.layers.{layer}.{name}.weight", shape)
        for layer in range(layers)
        for name, shape in shapes.items()
    ]
    tensors += [
        TensorInfo("model.embed_tokens.weight", (vocabulary, hidden)),
        TensorInfo("model.norm.weight", (hidden,)),
    ]
    if not tied:
        tensors.append(TensorInfo("lm_head.weight", (vocabulary, hidden)))
    config = LlamaConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=inner,
        vocab_size=vocabulary,
        max_position_embeddings=131072,
        tie_word_embeddings=tied,
    )
    return base_model(config, tensors)


def llama_1b() -> BaseModel:
    """Llama-3.2-1B: 1,235,814,400 parameters."""
    return llama(hidden=2048, layers=16, heads=32, kv_heads=8, inner=8192, vocabulary=128256, tied=True)


def llama_8b() -> BaseModel:
    """Llama-3.1-8B: 8,030,261,248 parameters."""
    return llama(hidden=4096, layers=32, heads=32, kv_heads=8, inner=14336, vocabulary=128256, tied=False)
