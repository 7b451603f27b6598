/* How far down the likeliest tokens top_k and top_p reach. */
#ifndef LORAPLEX_SAMPLE_EDGE_H
#define LORAPLEX_SAMPLE_EDGE_H

#include "sample_weights.h"

/* What is kept: the logits above x, and of those equal to it the first so many, by ascending id. */
struct edge {
    float x;
    int64_t equals;
    int64_t weight; /* of all that is kept */
};

/* The fewest of the likeliest that are top_k (0: off), and of these the fewest that weigh the part top_p of them. */
struct edge sample_edge(const struct weigher *w, int64_t top_k, double top_p);

#endif
