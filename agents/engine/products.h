// Products of activations and weights that lie in panels of PANEL outputs.
//
// float32: a panel is [inputs, PANEL], activations are rows. bfloat16 (Half): inputs are padded to tiles of TILE numbers; a panel is
// [tiles, 2, TILE / 2, WIDTH, 2], pairs of inputs of WIDTH outputs lying together, and activations are [rows / WIDTH, tiles, WIDTH, TILE].
// What a row gets does not depend on the others: its sums go from the first input to the last.

#pragma once

#include "vectors.h"

static const int PANEL = 2 * WIDTH;       // outputs that are computed together
static const int TILE = 2 * WIDTH;        // inputs of a tile
static const int BLOCK_ROWS = 2 * WIDTH;  // rows that are computed together

enum Way { PLAIN, WIDENED, PAIRED, TILED };  // float32; bfloat16 without instructions, with AVX512_BF16, with AMX_BF16

// out [rows, PANEL] = activations (up to BLOCK_ROWS rows of k inputs) times a panel.
typedef void (*BlockProduct)(const void *activations, int64_t k, const void *panel, int64_t rows, float *out);
BlockProduct block_product(int way);

// Around products with tiles, on each thread.
void tiles_begin();
void tiles_end();

// Writes a block of sums to out, whose rows lie `stride` apart.
void put(const float *block, int64_t rows, int64_t columns, float *out, int64_t stride, const float *bias);

// Rounds `count` numbers to a row of activations in tiles, zeros up to k.
void take_row(const float *from, int64_t count, Half *to, int64_t row, int64_t k);

INLINE int64_t panels(int64_t outputs) { return (outputs + PANEL - 1) / PANEL; }
INLINE int64_t blocks(int64_t rows) { return (rows + BLOCK_ROWS - 1) / BLOCK_ROWS; }
INLINE int64_t padded(int64_t inputs) { return (inputs + TILE - 1) / TILE * TILE; }

// Where input j of a row is in tiles of k inputs.
INLINE int64_t tile_place(int64_t row, int64_t j, int64_t k) {
    return row / WIDTH * WIDTH * k + j / TILE * TILE * WIDTH + row % WIDTH * TILE + j % TILE;
}

// Bytes from one panel to the next.
INLINE int64_t panel_bytes(int way, int64_t k) { return PANEL * k * (way == PLAIN ? sizeof(float) : sizeof(Half)); }

// On all threads of a team: products of all activations and all panels, of which each block of sums is handed to `end` with its first row, how many
// there are, and its panel.
template <class End> INLINE void each_block(int way, const void *activations, int64_t k, int64_t rows, const void *weights, int64_t outputs, End end) {
    const BlockProduct product = block_product(way);
    const int64_t size = way == PLAIN ? sizeof(float) : sizeof(Half);
    alignas(64) float block[BLOCK_ROWS * PANEL];
#pragma omp for schedule(static)
    for (int64_t p = 0; p < panels(outputs); p++)
        for (int64_t i = 0; i < rows; i += BLOCK_ROWS) {
            const int64_t some = rows - i < BLOCK_ROWS ? rows - i : BLOCK_ROWS;
            product((const char *)activations + i * k * size, k, (const char *)weights + p * panel_bytes(way, k), some, block);
            end(block, i, some, p);
        }
}

INLINE float to_float(Half x) {
    uint32_t bits = (uint32_t)x << 16;
    float y;
    memcpy(&y, &bits, sizeof(y));
    return y;
}

INLINE Half to_half(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    if ((bits & 0x7fffffff) > 0x7f800000) return (bits | 0x400000) >> 16;
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
