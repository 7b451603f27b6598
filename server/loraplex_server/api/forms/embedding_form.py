"""The body of /v1/embeddings."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import numpy.typing as npt

from loraplex_server.api.answers.answer import Piece
from loraplex_server.api.answers.generation import Generation
from loraplex_server.api.errors import ApiError, bad_request
from loraplex_server.api.forms.event import encode_json
from loraplex_server.api.forms.form import Form
from loraplex_server.api.schemas.embedding import EmbeddingRequest
from loraplex_server.engine.interface import EngineError

Vector = npt.NDArray[np.float32]  # [H]
# Numbers of a body; with more, it is written on a thread: every stream waits while the event loop does not turn.
INLINE_NUMBERS = 16384


class EmbeddingForm(Form):
    """A vector for each input. There is no stream of it.

    Args:
        model: the name that the request used. body: the request. generation: the vectors' source.
        bare: LoRAX's body, which has the numbers of its one vector, and nothing else.
    """

    prefix = "embd-"

    def __init__(self, model: str, body: EmbeddingRequest, generation: Generation, *, bare: bool = False) -> None:
        self._model = model
        self._bare = bare
        self._body = body
        self._generation = generation

    def response(self, pieces: list[Piece]) -> bytes:
        """See Form.response.

        Raises:
            ApiError: 400 where a vector has fewer dimensions than are asked for.
            EngineError: the engine sent no vector.
        """
        if self._bare:
            return encode_json({"embeddings": self._written(self._vector(pieces[0]))})
        data = [
            {"object": "embedding", "index": piece.index, "embedding": self._written(self._vector(piece))}
            for piece in pieces
        ]
        tokens = self._generation.prompt_tokens
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return encode_json({"object": "list", "data": data, "model": self._model, "usage": usage})

    def events(self, pieces: list[Piece]) -> bytes:
        """See Form.events."""
        raise TypeError("embeddings are not streamed")

    def closing(self) -> bytes:
        """See Form.closing."""
        raise TypeError("embeddings are not streamed")

    def failure(self, error: ApiError) -> bytes:
        """See Form.failure."""
        raise TypeError("embeddings are not streamed")

    def is_large(self, pieces: list[Piece]) -> bool:
        """See Form.is_large."""
        return sum(len(piece.embedding or b"") for piece in pieces) > 4 * INLINE_NUMBERS

    def _vector(self, piece: Piece) -> Vector:
        if piece.embedding is None:
            raise EngineError("the engine sent no embedding")
        vector = np.frombuffer(piece.embedding, dtype=np.float32)
        wanted = self._body.dimensions
        if wanted is not None and wanted > len(vector):
            raise bad_request(f"'dimensions': this model's vectors have {len(vector)}", param="dimensions")
        vector = vector[:wanted]
        if not self._body.normalize:
            return vector
        length = float(np.linalg.norm(vector.astype(np.float64)))
        return vector if length == 0.0 else (vector / length).astype(np.float32)

    def _written(self, vector: Vector) -> Any:
        if self._body.encoding_format == "base64":
            return base64.b64encode(vector.astype("<f4").tobytes()).decode()
        return vector.tolist()
