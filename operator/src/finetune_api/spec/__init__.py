"""What a user writes under `spec`: one module per section, put together in `job`."""
