"""The tuning methods: which weights change, in which precision, and what a job may ask of them."""
