"""How models are measured: their own task, and public benchmarks."""
