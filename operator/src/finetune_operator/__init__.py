"""The operator: watches FinetuneJobs, runs their preflight and training Jobs, and tells their story in status."""
