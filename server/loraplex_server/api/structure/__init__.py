"""What an answer must look like: schemas, grammars and lists of tokens, made and checked."""
