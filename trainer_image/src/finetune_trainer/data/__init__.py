"""From files of rows to token ids and masks on disk, and the report on them."""
