// Attention over rows whose keys and values lie in blocks of WIDTH positions.

#pragma once

#include "products.h"

struct Packed {  // [T, heads, size] in any order of tokens and heads
    float *data;
    int64_t token, head;
    float *at(int64_t t, int64_t h) const { return data + t * token + h * head; }
};

struct Row {  // see kernels.py
    int64_t table, position, token, count;
};

struct Turns {  // rotary positions: cosines and sines [positions, size]; none where they are null
    const float *cosines, *sines;
    const float *query_norm, *key_norm;  // [size]: heads are normalised before they are turned; null, they are not
    float eps;
};

// Each x [size] over the root of its mean square, times the weights.
void normalise(const float *x, const float *weights, float *out, int64_t rows, int64_t size, float eps);
void turn(const float *x, float *out, int64_t size, const float *cosines, const float *sines);

// What all layers of a pass have in common. tables [any, width]: numbers of blocks in data [blocks, x, heads, WIDTH * size].
struct Attention {
    const Row *rows;
    int64_t count;
    const int64_t *tables;
    int64_t width, blocks, x, heads, groups, size;

    Row *parts = nullptr;
    int64_t pieces = 0, longest = 0, chunk = 1;
    float *scores = nullptr;

    // 0, 1 where there is no memory, 2 where a row has no room for its new tokens, 3 where a block is none of the pool's.
    int prepare(int threads);
    ~Attention();

    // On all threads of a team: writes new keys and values into data, at 2 * slot of x and the next one, and lets each new token attend to its
    // row up to itself. With turns, new queries and keys are turned first, where they are. tiles: also the answers, rounded.
    template <class Number>
    void layer(Packed q, Packed k, Packed v, Packed out, Number *data, int64_t slot, int64_t window, float scale, const Turns &turns, Half *tiles) const;

    void turn_rows(const Row &row, int64_t head, Packed what, const float *norm, const Turns &turns) const;
};
