"""Packed attention by torch's own kernel, which there is on a GPU only; the rest of it is in `test_packing`.

python -m pytest -c tests/gpu/pytest.ini tests/gpu
"""

import pytest
import torch

from finetune_trainer import attention
from finetune_trainer.attention import Documents


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("window", [None, 3])
def test_the_variable_length_kernel_on_a_gpu_is_the_attention_of_each_document(window):
    torch.manual_seed(0)
    states = tuple(torch.randn(heads, 300, 64).cuda().bfloat16() for heads in (4, 2, 2))
    documents = Documents.of([150, 100, 50], states[0].device)
    asked = attention._Asked(documents, dropout=0.0, scaling=None, window=window)
    found, expected = attention._VARLEN(states, asked), attention._by_document(states, asked)
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)
