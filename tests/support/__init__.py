"""What several tests share: checkpoints and adapters written by transformers and PEFT, and an engine without HTTP."""
