"""Objects the operator creates, as pure functions of a FinetuneJob and the settings."""
