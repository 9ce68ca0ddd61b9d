// Matrix products with weights that are rearranged once: in float32, and in bfloat16 with sums in float32. See products.h.

#include "products.h"

#include <stdlib.h>

#if defined(__x86_64__) && __GNUC__ >= 12 && defined(__linux__)
#define INTEL
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

static const int ROWS = 8;  // of activations that are multiplied together, outside of tiles

// Some rows of float32 activations times a panel.
template <int rows> INLINE void plain_rows(const float *a, int64_t k, const float *panel, float *out) {
    Vector sums[rows][2];
    for (int i = 0; i < rows; i++) sums[i][0] = sums[i][1] = Vector{};
    for (int64_t j = 0; j < k; j++, panel += PANEL) {
        Vector low = load(panel), high = load(panel + WIDTH);
        for (int i = 0; i < rows; i++) {
            float x = a[i * k + j];
            sums[i][0] += x * low;
            sums[i][1] += x * high;
        }
    }
    for (int i = 0; i < rows; i++) {
        store(out + i * PANEL, sums[i][0]);
        store(out + i * PANEL + WIDTH, sums[i][1]);
    }
}

CLONES static void plain_block(const void *a, int64_t k, const void *panel, int64_t rows, float *out) {
    const float *x = (const float *)a, *w = (const float *)panel;
    for (; rows >= ROWS; rows -= ROWS, x += ROWS * k, out += ROWS * PANEL) plain_rows<ROWS>(x, k, w, out);
    for (; rows >= 2; rows -= 2, x += 2 * k, out += 2 * PANEL) plain_rows<2>(x, k, w, out);
    if (rows) plain_rows<1>(x, k, w, out);
}

// Rows of bfloat16 activations, in tiles, times a panel, where the processor has no instruction for it: numbers are widened, sums are those
// of float32.
CLONES static void widened_block(const void *a, int64_t k, const void *panel, int64_t rows, float *out) {
    const Half *x = (const Half *)a;
    for (int64_t first = 0; first < rows; first += 4) {
        const int64_t some = rows - first < 4 ? rows - first : 4;
        Vector sums[4][2] = {};
        for (int64_t j = 0; j < k; j += 2) {
            const Half *pairs = (const Half *)panel + j / TILE * TILE * PANEL + j % TILE * WIDTH;
            Words low = *(const Words *)pairs, high = *(const Words *)(pairs + TILE * WIDTH);
            for (int64_t i = 0; i < some; i++) {
                const int64_t row = first + i;
                const Half *at = x + tile_place(row, j, k);
                float even = to_float(at[0]), odd = to_float(at[1]);
                sums[i][0] += even * (Vector)(low << 16);
                sums[i][0] += odd * (Vector)(low & 0xffff0000);
                sums[i][1] += even * (Vector)(high << 16);
                sums[i][1] += odd * (Vector)(high & 0xffff0000);
            }
        }
        for (int64_t i = 0; i < some; i++) {
            store(out + (first + i) * PANEL, sums[i][0]);
            store(out + (first + i) * PANEL + WIDTH, sums[i][1]);
        }
    }
}

#ifdef INTEL

template <int rows>
__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16"))) static inline void
paired_rows(const Half *a, int64_t k, const Half *panel, float *out) {
    __m512 sums[rows][2];
    for (int i = 0; i < rows; i++) sums[i][0] = sums[i][1] = _mm512_setzero_ps();
    for (int64_t tile = 0; tile < k; tile += TILE, a += WIDTH * TILE, panel += TILE * PANEL)
        for (int j = 0; j < TILE; j += 2) {
            __m512bh low = (__m512bh)_mm512_load_si512(panel + j * WIDTH), high = (__m512bh)_mm512_load_si512(panel + (TILE + j) * WIDTH);
            for (int i = 0; i < rows; i++) {
                int pair;
                memcpy(&pair, a + i * TILE + j, sizeof(pair));
                __m512bh x = (__m512bh)_mm512_set1_epi32(pair);
                sums[i][0] = _mm512_dpbf16_ps(sums[i][0], x, low);
                sums[i][1] = _mm512_dpbf16_ps(sums[i][1], x, high);
            }
        }
    for (int i = 0; i < rows; i++) {
        _mm512_storeu_ps(out + i * PANEL, sums[i][0]);
        _mm512_storeu_ps(out + i * PANEL + WIDTH, sums[i][1]);
    }
}

// The same with AVX512_BF16.
__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16"))) static void
paired_block(const void *a, int64_t k, const void *panel, int64_t rows, float *out) {
    for (int64_t first = 0; first < rows;) {
        const Half *x = (const Half *)a + tile_place(first, 0, k), *w = (const Half *)panel;
        if (rows - first >= ROWS) {
            paired_rows<ROWS>(x, k, w, out + first * PANEL);
            first += ROWS;
        } else if (rows - first >= 2) {
            paired_rows<2>(x, k, w, out + first * PANEL);
            first += 2;
        } else {
            paired_rows<1>(x, k, w, out + first * PANEL);
            first += 1;
        }
    }
}

// The same with AMX_BF16, whose tiles hold 16 rows of 64 bytes.
__attribute__((target("amx-tile,amx-bf16,avx512f"))) static void
tiled_block(const void *a, int64_t k, const void *panel, int64_t rows, float *out) {
    const char *x = (const char *)a, *w = (const char *)panel;
    const int64_t tile = WIDTH * TILE * sizeof(Half), below = k / TILE * tile, ahead = 8 * tile;
    _tile_zero(0);
    _tile_zero(1);
    if (rows <= WIDTH) {
        for (int64_t j = 0; j < k; j += TILE, x += tile, w += 2 * tile) {
            for (int64_t i = 0; i < 2 * tile; i += 64) _mm_prefetch(w + ahead + i, _MM_HINT_T0);
            _tile_loadd(4, x, 64);
            _tile_loadd(6, w, 64);
            _tile_loadd(7, w + tile, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
        }
    } else {
        _tile_zero(2);
        _tile_zero(3);
        for (int64_t j = 0; j < k; j += TILE, x += tile, w += 2 * tile) {
            for (int64_t i = 0; i < 2 * tile; i += 64) _mm_prefetch(w + ahead + i, _MM_HINT_T0);
            _tile_loadd(4, x, 64);
            _tile_loadd(6, w, 64);
            _tile_loadd(7, w + tile, 64);
            _tile_loadd(5, x + below, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
        _tile_stored(2, out + WIDTH * PANEL, PANEL * sizeof(float));
        _tile_stored(3, out + WIDTH * PANEL + WIDTH, PANEL * sizeof(float));
    }
    _tile_stored(0, out, PANEL * sizeof(float));
    _tile_stored(1, out + WIDTH, PANEL * sizeof(float));
}

// Eight tiles of 16 rows of 64 bytes.
static const struct {
    uint8_t palette = 1, row = 0, none[14] = {};
    uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
} SHAPE;

__attribute__((target("amx-tile"))) void tiles_begin() { _tile_loadconfig(&SHAPE); }

__attribute__((target("amx-tile"))) void tiles_end() { _tile_release(); }

// A process has to ask for the tiles' state (Documentation/arch/x86/xstate.rst of Linux).
static bool may_use_tiles() { return syscall(SYS_arch_prctl, 0x1023, 18) == 0; }

static int best_way() {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx512bf16") || !__builtin_cpu_supports("avx512vl")) return WIDENED;
    return __builtin_cpu_supports("amx-bf16") && __builtin_cpu_supports("amx-tile") && may_use_tiles() ? TILED : PAIRED;
}

extern "C" int instructions() {
    static const int best = best_way();
    return best;
}

#else

void tiles_begin() {}
void tiles_end() {}
static const BlockProduct paired_block = widened_block, tiled_block = widened_block;
extern "C" int instructions() { return WIDENED; }

#endif

BlockProduct block_product(int way) {
    static const BlockProduct all[] = {plain_block, widened_block, paired_block, tiled_block};
    return all[way];
}

// Rearranges weights [outputs, inputs] in panels. to: room for panels(outputs) * PANEL * padded(inputs) numbers.
CLONES static void pack_panel(const float *from, int64_t outputs, int64_t inputs, int64_t panel, bool half, void *to) {
    const int64_t k = half ? padded(inputs) : inputs;
    for (int64_t c = 0; c < PANEL; c++) {
        const int64_t row = panel * PANEL + c;
        for (int64_t j = 0; j < k; j++) {
            float x = row < outputs && j < inputs ? from[row * inputs + j] : 0.0f;
            if (half)
                ((Half *)to)[j / TILE * TILE * PANEL + c / WIDTH * TILE * WIDTH + j % TILE / 2 * 2 * WIDTH + c % WIDTH * 2 + j % 2] = to_half(x);
            else
                ((float *)to)[j * PANEL + c] = x;
        }
    }
}

extern "C" void pack(const float *from, int64_t outputs, int64_t inputs, int half, void *to, int threads) {
    const int64_t each = panel_bytes(half ? WIDENED : PLAIN, half ? padded(inputs) : inputs);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t p = 0; p < panels(outputs); p++) pack_panel(from, outputs, inputs, p, half, (char *)to + p * each);
}

CLONES void take_row(const float *from, int64_t count, Half *to, int64_t row, int64_t k) {
    for (int64_t j = 0; j < k; j += WIDTH) {
        Vector some = {};
        if (j + WIDTH <= count) some = load(from + j);
        else
            for (int64_t i = j; i < count; i++) some[i - j] = from[i];
        store(to + tile_place(row, j, k), some);
    }
}

CLONES void put(const float *block, int64_t rows, int64_t columns, float *out, int64_t stride, const float *bias) {
    for (int64_t i = 0; i < rows; i++, block += PANEL, out += stride)
        if (columns == PANEL) {
            Vector low = load(block), high = load(block + WIDTH);
            if (bias) low += load(bias), high += load(bias + WIDTH);
            store(out, low);
            store(out + WIDTH, high);
        } else
            for (int64_t c = 0; c < columns; c++) out[c] = block[c] + (bias ? bias[c] : 0.0f);
}

// out [rows, outputs] = x [rows, inputs] times packed weights, plus bias [outputs] if there is one. 0, or 1 where there is no memory.
extern "C" int linear(
    const float *x, int64_t rows, int64_t inputs, const void *weights, int64_t outputs, int way, const float *bias, float *out, int threads
) {
    const int64_t k = way == PLAIN ? inputs : padded(inputs);
    Half *tiles = nullptr;
    if (way != PLAIN && !(tiles = (Half *)aligned_alloc(64, (blocks(rows) + 1) * BLOCK_ROWS * k * sizeof(Half)))) return 1;
#pragma omp parallel num_threads(threads)
    {
        if (way == TILED) tiles_begin();
        if (way != PLAIN) {
#pragma omp for schedule(static)
            for (int64_t i = 0; i < rows; i++) take_row(x + i * inputs, inputs, tiles, i, k);
        }
        each_block(way, way == PLAIN ? (const void *)x : tiles, k, rows, weights, outputs, [=](float *block, int64_t i, int64_t some, int64_t p) {
            const int64_t left = outputs - p * PANEL;
            put(block, some, left < PANEL ? left : PANEL, out + i * outputs + p * PANEL, outputs, bias ? bias + p * PANEL : nullptr);
        });
        if (way == TILED) tiles_end();
    }
    free(tiles);
    return 0;
}
