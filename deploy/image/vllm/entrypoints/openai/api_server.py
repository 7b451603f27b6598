"""`python3 -m vllm.entrypoints.openai.api_server --model MODEL`, as older manifests start vLLM, starts this server."""

import os
import sys

if __name__ == "__main__":
    os.execvp("loraplex", ["loraplex", "serve", *sys.argv[1:]])
