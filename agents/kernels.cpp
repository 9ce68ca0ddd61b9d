// What a CPU does most in generation, in one call for all rows: attention over cached keys and values in float32, and copies between caches.
// agents/kernels.py is its only caller and says what the arguments are. Threads come from the OpenMP library that torch has loaded.
//
// Vectors of 16 floats are the compiler's own: it makes of them what the processor has, AVX-512, AVX2, SSE or NEON, and on x86 the version
// is chosen when the library is loaded.

#include <math.h>
#include <omp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__) && __GNUC__ >= 12
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default"), noinline))
#elif defined(__x86_64__)
#define CLONES __attribute__((target_clones("avx512f", "avx2", "default"), noinline))
#else
#define CLONES __attribute__((noinline))
#endif
#define INLINE static inline __attribute__((always_inline))

typedef float Vector __attribute__((vector_size(64)));
typedef float Unaligned __attribute__((vector_size(64), aligned(4)));
typedef int32_t Integers __attribute__((vector_size(64)));

static const int WIDTH = 16;   // floats of a vector, and positions whose scores are computed together
static const int LARGEST = 256;  // head size

INLINE Vector load(const float *at) { return *(const Unaligned *)at; }
INLINE void store(float *at, Vector what) { *(Unaligned *)at = what; }

// e to the power of each x <= 0, within 2 units in the last place (Cephes' expf); about 1e-38 below -87, NaN for NaN.
INLINE Vector exponential(Vector x) {
    x = x < -87.0f ? Vector{} - 87.0f : x;
    const float round = 12582912.0f;  // 1.5 * 2^23: what is added to it loses its fraction
    Vector n = (x * 1.44269504088896341f + round) - round;
    Vector r = x - n * 0.693359375f + n * 2.12194440e-4f;
    Vector p = 1.9875691500e-4f * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return p * (Vector)((__builtin_convertvector(n, Integers) + 127) << 23);
}

// Half a step of a transposition: lanes of a and b alternate, each the sum of two of before.
INLINE Vector folded(Vector a, Vector b) {
    const Integers low = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23};
    const Integers high = {8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    return __builtin_shuffle(a, b, low) + __builtin_shuffle(a, b, high);
}

// One query [size] over keys and values [n, size] to out [size]. scores has room for n rounded up to WIDTH.
INLINE void attend_one(
    const float *query, const float *keys, const float *values, float *out, int64_t n, int64_t size, float scale, float *scores
) {
    Vector highest = Vector{} - INFINITY;
    for (int64_t first = 0; first < n; first += WIDTH) {
        Vector sums[WIDTH];
        for (int i = 0; i < WIDTH; i++) {
            if (first + i < n) {
                const float *key = keys + (first + i) * size;
                sums[i] = load(query) * load(key);
                for (int64_t d = WIDTH; d < size; d += WIDTH) sums[i] += load(query + d) * load(key + d);
            } else {
                sums[i] = Vector{} - INFINITY;
            }
        }
        // Four foldings make of 16 vectors one that holds the sum of each.
        for (int half = WIDTH / 2; half; half /= 2)
            for (int i = 0; i < half; i++) sums[i] = folded(sums[i], sums[i + half]);
        Vector some = sums[0] * scale;
        store(scores + first, some);
        highest = some > highest ? some : highest;
    }
    float top = highest[0];
    for (int i = 1; i < WIDTH; i++) top = highest[i] > top ? highest[i] : top;
    Vector weights = {};
    for (int64_t first = 0; first < n; first += WIDTH) {
        Vector weight = exponential(load(scores + first) - top);
        store(scores + first, weight);
        weights += weight;
    }
    float total = 0;
    for (int i = 0; i < WIDTH; i++) total += weights[i];
    Vector sum[LARGEST / WIDTH];
    for (int64_t d = 0; d < size / WIDTH; d++) sum[d] = Vector{};
    for (int64_t i = 0; i < n; i++)
        for (int64_t d = 0; d < size / WIDTH; d++) sum[d] += scores[i] * load(values + i * size + d * WIDTH);
    for (int64_t d = 0; d < size / WIDTH; d++) store(out + d * WIDTH, sum[d] / total);
}

// All query heads of one key-value head. Common head sizes are known to the compiler.
CLONES static void attend_group(
    const float *query, int64_t next_query, int64_t groups, const float *keys, const float *values, float *out, int64_t n, int64_t size,
    float scale, float *scores
) {
    for (int64_t g = 0; g < groups; g++, query += next_query, out += size) {
        switch (size) {
            case 32: attend_one(query, keys, values, out, n, 32, scale, scores); break;
            case 64: attend_one(query, keys, values, out, n, 64, scale, scores); break;
            case 128: attend_one(query, keys, values, out, n, 128, scale, scores); break;
            default: attend_one(query, keys, values, out, n, size, scale, scores);
        }
    }
}

struct Packed {  // [T, heads, size] in any order of tokens and heads
    float *data;
    int64_t token, head;
    float *at(int64_t t, int64_t h) const { return data + t * token + h * head; }
};

struct Row {  // a line of the table, see kernels.py
    char *data;
    int64_t slot, length, position, token, count;
};

// A row's new tokens one after the other: each is written into the cache and attends to what is there.
static void attend_row(
    const Row &row, int64_t head, Packed q, Packed k, Packed v, Packed out, int64_t slot, int64_t groups, int64_t size, int64_t window,
    float scale, float *scores
) {
    float *keys = (float *)(row.data + 2 * slot * row.slot) + head * row.length * size;
    float *values = (float *)(row.data + (2 * slot + 1) * row.slot) + head * row.length * size;
    for (int64_t i = 0; i < row.count; i++) {
        int64_t token = row.token + i, position = row.position + i;
        memcpy(keys + position * size, k.at(token, head), size * sizeof(float));
        memcpy(values + position * size, v.at(token, head), size * sizeof(float));
        int64_t first = window && position >= window ? position - window + 1 : 0;
        attend_group(
            q.at(token, head * groups), q.head, groups, keys + first * size, values + first * size, out.at(token, head * groups),
            position + 1 - first, size, scale, scores
        );
    }
}

// 0, or 1 where there is no memory. longest: no row is longer, in positions.
extern "C" int attend(
    Packed q, Packed k, Packed v, Packed out, const Row *rows, int64_t count, int64_t longest, int64_t slot, int64_t heads, int64_t groups,
    int64_t size, int64_t window, float scale, int threads
) {
    int64_t room = (longest + WIDTH - 1) / WIDTH * WIDTH;
    float *scores = (float *)malloc(threads * room * sizeof(float));
    if (!scores) return 1;
#pragma omp parallel num_threads(threads)
    {
        float *own = scores + omp_get_thread_num() * room;
#pragma omp for collapse(2) schedule(dynamic, 2)
        for (int64_t i = 0; i < count; i++)
            for (int64_t h = 0; h < heads; h++) attend_row(rows[i], h, q, k, v, out, slot, groups, size, window, scale, own);
    }
    free(scores);
    return 0;
}

// Copies pieces of `size` bytes: from[sources[i]] to to[places[i]].
extern "C" void copy(char *to, const int64_t *places, const char *from, const int64_t *sources, int64_t count, int64_t size, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < count; i++) memcpy(to + places[i] * size, from + sources[i] * size, size);
}
