// The layers of a Llama, all of them in one call: norms, products, rotary positions, attention to cached rows, gates.

#include "attention.h"

#include <omp.h>
#include <stdlib.h>

struct Shape {  // heads: of keys, each of `groups` query heads of `size` numbers. inner: outputs of a gate.
    int64_t width, heads, groups, size, inner;
    float eps, scale;
};

struct Layer {  // packed weights, gates and what they are for in turns of WIDTH outputs; weights of norms; a bias or null
    const void *into, *out, *gates, *down;
    const float *before, *between, *bias, *query_norm, *key_norm;
};

// A row over the root of its mean square, times the weights: to a row of floats, or to a row of activations in tiles.
CLONES static void norm_row(const float *x, const float *weights, int64_t size, float eps, float *plain, Half *tiles, int64_t row) {
    Vector squares[2] = {};
    for (int64_t d = 0; d < size; d += WIDTH) squares[d / WIDTH % 2] += load(x + d) * load(x + d);
    const float scale = 1.0f / sqrtf(total(squares[0] + squares[1]) / size + eps);
    for (int64_t d = 0; d < size; d += WIDTH) {
        Vector some = load(x + d) * scale * load(weights + d);
        if (tiles) store(tiles + tile_place(row, d, size), some);
        else store(plain + row * size + d, some);
    }
}

CLONES static void add(const float *block, int64_t rows, int64_t columns, float *to, int64_t stride) {
    for (int64_t i = 0; i < rows; i++, block += PANEL, to += stride)
        for (int64_t c = 0; c < columns; c += WIDTH) store(to + c, load(to + c) + load(block + c));
}

// Gates of WIDTH outputs and what they are for.
CLONES static void gate_block(const float *block, int64_t row, int64_t rows, int64_t at, int64_t inner, float *plain, Half *tiles) {
    for (int64_t i = row; i < row + rows; i++, block += PANEL) {
        Vector some = swish(load(block)) * load(block + WIDTH);
        if (tiles) store(tiles + tile_place(i, at, inner), some);
        else store(plain + i * inner + at, some);
    }
}

// x [tokens, width]: embedded tokens, which are changed on the way. rows, tables, data, blocks: see attention.cpp; data is bfloat16 unless way is
// PLAIN. out [kept, width]: what the head reads of the tokens keep [kept], normalised. Errors: see Attention::prepare.
extern "C" int body(
    const Shape *shape, const Layer *layers, int64_t depth, int way, float *x, int64_t tokens, const Row *rows, int64_t count,
    const int64_t *tables, int64_t table, void *data, int64_t blocks_there, const float *cosines, const float *sines, const int64_t *keep,
    int64_t kept, const float *norm, float *out, int threads
) {
    const auto [width, heads, groups, size, inner, eps, scale] = *shape;
    const int64_t attended = heads * groups * size, into = attended + 2 * heads * size;
    Attention attention{rows, count, tables, table, blocks_there, 2 * depth, heads, groups, size};
    if (int failed = attention.prepare(threads)) return failed;
    const int64_t room = blocks(tokens) * BLOCK_ROWS, bytes = way == PLAIN ? sizeof(float) : sizeof(Half);
    // Activations: of a product with `width` or `attended` inputs, and of one with `inner`.
    const int64_t widest = width > attended ? width : attended;
    char *memory = (char *)aligned_alloc(64, room * (into + attended) * sizeof(float) + room * (widest + inner) * bytes);
    if (!memory) return 1;
    float *qkv = (float *)memory, *answers = qkv + room * into;
    void *some = answers + room * attended, *gated = (char *)some + room * widest * bytes;
    float *plain = way == PLAIN ? (float *)some : nullptr, *plain_gated = way == PLAIN ? (float *)gated : nullptr;
    Half *tiles = way == PLAIN ? nullptr : (Half *)some, *tiles_gated = way == PLAIN ? nullptr : (Half *)gated;
    const Packed q{qkv, into, size}, k{qkv + attended, into, size}, v{qkv + attended + heads * size, into, size}, a{answers, attended, size};
#pragma omp parallel num_threads(threads)
    {
        if (way == TILED) tiles_begin();
        for (int64_t number = 0; number < depth; number++) {
            const Layer &layer = layers[number];
#pragma omp for schedule(static)
            for (int64_t i = 0; i < tokens; i++) norm_row(x + i * width, layer.before, width, eps, plain, tiles, i);
            each_block(way, some, width, tokens, layer.into, into, [&](float *block, int64_t i, int64_t n, int64_t p) {
                const int64_t left = into - p * PANEL;
                put(block, n, left < PANEL ? left : PANEL, qkv + i * into + p * PANEL, into, layer.bias ? layer.bias + p * PANEL : nullptr);
            });
            const Turns turns{cosines, sines, layer.query_norm, layer.key_norm, eps};
            if (tiles) attention.layer(q, k, v, a, (Half *)data, number, 0, scale, turns, tiles);
            else attention.layer(q, k, v, a, (float *)data, number, 0, scale, turns, nullptr);
            auto onto = [&](float *block, int64_t i, int64_t n, int64_t p) {
                const int64_t left = width - p * PANEL;
                add(block, n, left < PANEL ? left : PANEL, x + i * width + p * PANEL, width);
            };
            each_block(way, tiles ? some : answers, attended, tokens, layer.out, width, onto);
#pragma omp for schedule(static)
            for (int64_t i = 0; i < tokens; i++) norm_row(x + i * width, layer.between, width, eps, plain, tiles, i);
            each_block(way, some, width, tokens, layer.gates, 2 * inner, [&](float *block, int64_t i, int64_t n, int64_t p) {
                gate_block(block, i, n, p * WIDTH, inner, plain_gated, tiles_gated);
            });
            each_block(way, gated, inner, tokens, layer.down, width, onto);
        }
#pragma omp for schedule(static)
        for (int64_t i = 0; i < kept; i++) normalise(x + keep[i] * width, norm, out + i * width, 1, width, eps);
        if (way == TILED) tiles_end();
    }
    free(memory);
    return 0;
}
