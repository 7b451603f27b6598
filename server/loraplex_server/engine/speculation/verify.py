"""Which of a step's choices count."""

from __future__ import annotations

from collections.abc import Sequence

from loraplex_server.engine.choice import Choice


def counted(draft: Sequence[int], choices: Sequence[Choice]) -> Sequence[Choice]:
    """The choices up to and including the first that differs from the draft; all of them where none does.

    A choice at each position is made from the model's own distribution there, given that the draft before it is right.
    So the first one is always the sequence's next token, and each later one is where all before it equal the draft.

    This is speculative sampling (Leviathan et al., ICML 2023; Chen et al., arXiv:2302.01318) for a proposal that is a
    single token: one of probability p under the model is accepted with probability min(1, p / 1), and what is drawn
    instead has the model's distribution without it, which is what a draw that turned out to differ has. Sampling is
    lossless for that reason. And since each position of an answer has its own random number, whoever asks for it
    (`Sequence.uniform`), a seed gives the very tokens that it gives without drafts, as far as the logits are the same:
    steps of other shapes may round otherwise.

    Args:
        draft: k tokens.
        choices: 1 + k.
    """
    for place, token in enumerate(draft):
        if choices[place].token != token:
            return choices[: place + 1]
    return choices
