"""Where the engine process begins: `python -m loraplex_server.engine`."""

from loraplex_server.torch_free import keep_torch_from_transformers

if __name__ == "__main__":
    keep_torch_from_transformers()
    from loraplex_server.engine.process import main  # what it imports imports transformers

    main()
