"""The trainer: reads a base model and data from S3, trains an adapter, measures it, commits it to S3."""
