"""The same load on an engine in this process: no HTTP, no tokenizer, no second process."""
