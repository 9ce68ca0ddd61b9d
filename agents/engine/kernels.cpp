// What a CPU does most in generation beside matrix products, each in one call for all rows: attention over cached keys and values, norms, rotary
// positions and gates, all in float32, and copies between caches.
// agents/kernels.py is its only caller and says what the arguments are. Threads come from the OpenMP library that torch has loaded.
//
// Vectors of 16 floats are the compiler's own: it makes of them what the processor has (tried with AVX-512, AVX2 and SSE; not on ARM), and on
// x86 the version is chosen when the library is loaded.

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

static const int WIDTH = 16;     // floats of a vector, and positions whose scores are computed together
static const int LARGEST = 256;  // head size
static const int QUERIES = 32;   // that share what is read of keys and values
static const int64_t SPAN = 256; // logits whose probabilities are summed up together
static const int TILE = 8192;    // floats that stay in the nearest cache meanwhile

INLINE Vector load(const float *at) { return *(const Unaligned *)at; }
INLINE void store(float *at, Vector what) { *(Unaligned *)at = what; }

INLINE float total(Vector x) {
    x += __builtin_shuffle(x, Integers{8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7});
    x += __builtin_shuffle(x, Integers{4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3});
    return (x[0] + x[1]) + (x[2] + x[3]);
}

// e to the power of each x <= 0, within 2 units in the last place (Cephes' expf); 0 below -87, NaN for NaN.
INLINE Vector exponential(Vector x) {
    const float round = 12582912.0f;  // 1.5 * 2^23: what is added to it loses its fraction
    Vector n = (x * 1.44269504088896341f + round) - round;
    Vector r = x - n * 0.693359375f + n * 2.12194440e-4f;
    Vector p = 1.9875691500e-4f * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return x < -87.0f ? Vector{} : p * (Vector)((__builtin_convertvector(n, Integers) + 127) << 23);
}

// Half a step of a transposition: lanes of a and b alternate, each the sum of two of before.
INLINE Vector folded(Vector a, Vector b) {
    const Integers low = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23};
    const Integers high = {8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    return __builtin_shuffle(a, b, low) + __builtin_shuffle(a, b, high);
}

// One query [size], which attends to positions first to end, to out [size].
struct Query {
    const float *data;
    float *out;
    int64_t first, end;
};

// Keys, or values, of one head of a row: blocks of WIDTH positions by their numbers, each [WIDTH, size], `block` numbers from one to the next.
struct Cached {
    float *data;
    int64_t block;
    const int64_t *numbers;
    float *at(int64_t l, int64_t size) const { return data + numbers[l / WIDTH] * block + l % WIDTH * size; }
};

// The scores of WIDTH keys from position l on, -INFINITY outside of what the query attends to.
INLINE Vector scored(const Query &query, const float *keys, int64_t l, int64_t size, float scale) {
    const Integers lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    Vector sums[WIDTH];
    for (int i = 0; i < WIDTH; i++) {
        sums[i] = Vector{};
        for (int64_t d = 0; d < size; d += WIDTH) sums[i] += load(query.data + d) * load(keys + i * size + d);
    }
    // Four foldings make of 16 vectors one that holds the sum of each.
    for (int half = WIDTH / 2; half; half /= 2)
        for (int i = 0; i < half; i++) sums[i] = folded(sums[i], sums[i + half]);
    if (l >= query.first && l + WIDTH <= query.end) return sums[0] * scale;
    Integers from = lanes - (int32_t)(query.first - l), to = lanes - (int32_t)(query.end - l);
    return (from >= 0) & (to < 0) ? sums[0] * scale : Vector{} - INFINITY;
}

// The sum [size] of values from position begin to end, each times its weight. Of small heads several sums run beside each other, as one addition
// waits for the one before.
INLINE void weigh(const float *weights, const Cached &values, int64_t begin, int64_t end, int64_t size, Vector *sum) {
    const int beside = size <= 32 ? 4 : size <= 64 ? 2 : 1;
    Vector sums[4][LARGEST / WIDTH];
    for (int i = 0; i < beside; i++)
        for (int64_t d = 0; d < size / WIDTH; d++) sums[i][d] = Vector{};
    for (int64_t l = begin; l < end;) {
        const float *some = values.at(l, size);
        int64_t stop = (l / WIDTH + 1) * WIDTH;
        if (stop > end) stop = end;
        for (; l + beside <= stop; l += beside, some += beside * size)
            for (int i = 0; i < beside; i++)
                for (int64_t d = 0; d < size / WIDTH; d++) sums[i][d] += weights[l + i] * load(some + i * size + d * WIDTH);
        for (; l < stop; l++, some += size)
            for (int64_t d = 0; d < size / WIDTH; d++) sums[0][d] += weights[l] * load(some + d * WIDTH);
    }
    for (int64_t d = 0; d < size / WIDTH; d++) {
        if (beside == 4) sums[0][d] += sums[2][d], sums[1][d] += sums[3][d];
        sum[d] = beside > 1 ? sums[0][d] + sums[1][d] : sums[0][d];
    }
}

// Some queries over a row's keys and values. scores: room for `many` times `room` numbers, room being a multiple of WIDTH no smaller than
// the row.
INLINE void attend_some(
    const Query *queries, int many, const Cached &keys, const Cached &values, int64_t size, float scale, float *scores, int64_t room
) {
    const int64_t step = TILE / size / WIDTH * WIDTH;
    int64_t lowest = queries[0].first / step * step, highest = queries[many - 1].end;
    Vector tops[QUERIES];
    for (int j = 0; j < many; j++) tops[j] = Vector{} - INFINITY;
    for (int64_t tile = lowest; tile < highest; tile += step)
        for (int j = 0; j < many; j++) {
            int64_t begin = queries[j].first / WIDTH * WIDTH;
            for (int64_t l = tile > begin ? tile : begin; l < tile + step && l < queries[j].end; l += WIDTH) {
                Vector some = scored(queries[j], keys.at(l, size), l, size, scale);
                store(scores + j * room + l, some);
                tops[j] = some > tops[j] ? some : tops[j];
            }
        }
    float totals[QUERIES];
    for (int j = 0; j < many; j++) {
        float top = tops[j][0];
        for (int i = 1; i < WIDTH; i++) top = tops[j][i] > top ? tops[j][i] : top;
        Vector sums = {};
        for (int64_t l = queries[j].first / WIDTH * WIDTH; l < queries[j].end; l += WIDTH) {
            Vector weights = exponential(load(scores + j * room + l) - top);
            store(scores + j * room + l, weights);
            sums += weights;
        }
        totals[j] = total(sums);
    }
    for (int64_t tile = lowest; tile < highest; tile += step)
        for (int j = 0; j < many; j++) {
            int64_t begin = tile > queries[j].first ? tile : queries[j].first;
            int64_t end = tile + step < queries[j].end ? tile + step : queries[j].end;
            if (begin >= end) continue;
            float *out = queries[j].out;
            Vector sum[LARGEST / WIDTH];
            weigh(scores + j * room, values, begin, end, size, sum);
            for (int64_t d = 0; begin > queries[j].first && d < size / WIDTH; d++) sum[d] += load(out + d * WIDTH);
            float divisor = end == queries[j].end ? totals[j] : 1.0f;
            for (int64_t d = 0; d < size / WIDTH; d++) store(out + d * WIDTH, sum[d] / divisor);
        }
}

// Common head sizes are known to the compiler.
CLONES static void attend_sized(
    const Query *queries, int many, const Cached &keys, const Cached &values, int64_t size, float scale, float *scores, int64_t room
) {
    switch (size) {
        case 32: attend_some(queries, many, keys, values, 32, scale, scores, room); break;
        case 64: attend_some(queries, many, keys, values, 64, scale, scores, room); break;
        case 128: attend_some(queries, many, keys, values, 128, scale, scores, room); break;
        default: attend_some(queries, many, keys, values, size, scale, scores, room);
    }
}

struct Packed {  // [T, heads, size] in any order of tokens and heads
    float *data;
    int64_t token, head;
    float *at(int64_t t, int64_t h) const { return data + t * token + h * head; }
};

struct Row {  // see kernels.py
    int64_t table, position, token, count;
};

// Asks for keys or values from position l to end before they are used: blocks lie apart, and the processor foresees only what lies together.
INLINE void ask_for(const Cached &what, int64_t l, int64_t end, int64_t size) {
    for (l = l / WIDTH * WIDTH; l < end; l += WIDTH) {
        const float *block = what.at(l, size);
        for (int64_t d = 0; d < WIDTH * size; d += WIDTH) __builtin_prefetch(block + d, 0, 2);
    }
}

// Writes a row's new tokens into the cache.
static void write_row(const Row &row, int64_t head, Packed k, Packed v, const Cached &keys, const Cached &values, int64_t size) {
    for (int64_t i = 0; i < row.count; i++) {
        memcpy(keys.at(row.position + i, size), k.at(row.token + i, head), size * sizeof(float));
        memcpy(values.at(row.position + i, size), v.at(row.token + i, head), size * sizeof(float));
    }
}

// Lets new tokens of a row, all of which are in the cache, attend to it up to themselves.
static void attend_row(
    const Row &row, int64_t head, Packed q, Packed out, const Cached &keys, const Cached &values, int64_t groups, int64_t size, int64_t window,
    float scale, float *scores, int64_t room
) {
    int64_t first = window && row.position + 1 > window ? row.position + 1 - window : 0;
    ask_for(keys, first, row.position, size);
    ask_for(values, first, row.position, size);
    Query queries[QUERIES];
    int many = 0;
    for (int64_t i = 0; i < row.count; i++)
        for (int64_t g = 0; g < groups; g++) {
            int64_t token = row.token + i, end = row.position + i + 1, at = head * groups + g;
            queries[many++] = {q.at(token, at), out.at(token, at), window && end > window ? end - window : 0, end};
            if (many == QUERIES || (i == row.count - 1 && g == groups - 1)) {
                attend_sized(queries, many, keys, values, size, scale, scores, room);
                many = 0;
            }
        }
}

// Each x [size] over the root of its mean square, times the weights.
CLONES static void normalise(const float *x, const float *weights, float *out, int64_t rows, int64_t size, float eps) {
    for (int64_t i = 0; i < rows; i++, x += size, out += size) {
        Vector squares[2] = {};
        for (int64_t d = 0; d < size; d += WIDTH) squares[d / WIDTH % 2] += load(x + d) * load(x + d);
        float scale = 1.0f / sqrtf(total(squares[0] + squares[1]) / size + eps);
        for (int64_t d = 0; d < size; d += WIDTH) store(out + d, load(x + d) * scale * load(weights + d));
    }
}

// Turns pairs (x[d], x[d + half]) of all heads of a token by its angles: cosines and sines [size].
CLONES static void turn(Packed from, Packed to, int64_t t, int64_t heads, int64_t size, const float *cosines, const float *sines) {
    const int64_t half = size / 2;
    for (int64_t h = 0; h < heads; h++) {
        const float *x = from.at(t, h);
        float *out = to.at(t, h);
        for (int64_t d = 0; d < half; d += WIDTH) {
            Vector low = load(x + d), high = load(x + d + half);
            store(out + d, low * load(cosines + d) - high * load(sines + d));
            store(out + d + half, high * load(cosines + d + half) + low * load(sines + d + half));
        }
    }
}

// x / (1 + e^-x) * y.
CLONES static void gated(const float *x, const float *y, float *out, int64_t count) {
    for (int64_t i = 0; i < count; i += WIDTH) {
        Vector some = load(x + i), small = exponential(some > 0 ? -some : some);
        store(out + i, some * (some > 0 ? Vector{} + 1.0f : small) / (1.0f + small) * load(y + i));
    }
}

// WIDTH logits of a row from `at` on; -INFINITY stands for those behind its end.
INLINE Vector part(const float *logits, int64_t at, int64_t vocabulary) {
    if (at + WIDTH <= vocabulary) return load(logits + at);
    Vector some = Vector{} - INFINITY;
    for (int i = 0; at + i < vocabulary; i++) some[i] = logits[at + i];
    return some;
}

// Draws from softmax(logits): the first id up to which the probabilities sum to more than u. sums: room for a number per SPAN logits.
CLONES static void draw_one(const float *logits, int64_t vocabulary, float u, float near, double *sums, int64_t *id, float *logprob, bool *tied) {
    Vector tops = Vector{} - INFINITY;
    for (int64_t i = 0; i < vocabulary; i += WIDTH) {
        Vector some = part(logits, i, vocabulary);
        tops = some > tops ? some : tops;
    }
    float top = tops[0];
    for (int i = 1; i < WIDTH; i++) top = tops[i] > top ? tops[i] : top;
    double all = 0;
    for (int64_t from = 0; from < vocabulary; from += SPAN) {
        Vector sum = {};
        for (int64_t i = from; i < from + SPAN && i < vocabulary; i += WIDTH) sum += exponential(part(logits, i, vocabulary) - top);
        sums[from / SPAN] = all;
        all += total(sum);
    }
    // From the last span that begins at or below the target on, id by id. Should rounding leave the sum short of it, the last possible id is it.
    double target = u * all, below = 0, above = NAN;
    int64_t span = (vocabulary - 1) / SPAN, found = vocabulary - 1;
    while (span && !(sums[span] <= target)) span--;
    double sum = sums[span];
    bool over = false;
    for (int64_t i = span * SPAN; i < vocabulary && !over; i += WIDTH) {
        Vector weights = exponential(part(logits, i, vocabulary) - top);
        for (int j = 0; j < WIDTH && !over; j++)
            if (weights[j] > 0) {
                below = sum;
                above = sum += weights[j];
                found = i + j;
                over = above > target;
            }
    }
    *id = found;
    *logprob = logits[found] - top - (float)log(all);
    *tied = above - target < near * all || (found && target - below < near * all);
}

static const int64_t WORTH = 1 << 14;  // numbers from which on threads share the work below

// Changes with what the functions below take or compute, so that kernels.py refuses a library that was built from another version of this file.
extern "C" int version() { return 6; }

// 0, 1 where there is no memory, 2 where a row has no room for its new tokens, 3 where a block is none of the pool's. tables [any, width]: numbers
// of blocks in data [blocks, X, heads, WIDTH * size]; keys are at 2 * slot of X, values behind them.
extern "C" int attend(
    Packed q, Packed k, Packed v, Packed out, const Row *rows, int64_t count, const int64_t *tables, int64_t width, float *data, int64_t blocks,
    int64_t x, int64_t slot, int64_t heads, int64_t groups, int64_t size, int64_t window, float scale, int threads
) {
    // Rows of many new tokens are shared out among threads in parts that hold as many queries as are attended to at once.
    const int64_t most = groups < QUERIES ? QUERIES / groups : 1;
    int64_t longest = 0, pieces = 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t end = rows[i].position + rows[i].count;
        if (rows[i].position < 0 || end > width * WIDTH) return 2;
        for (int64_t j = 0; j * WIDTH < end; j++)
            if (uint64_t(tables[rows[i].table * width + j]) >= uint64_t(blocks)) return 3;
        if (end > longest) longest = end;
        pieces += (rows[i].count + most - 1) / most;
    }
    longest = (longest / WIDTH + 1) * WIDTH;
    float *scores = (float *)malloc(threads * QUERIES * longest * sizeof(float));
    Row *parts = (Row *)malloc((pieces + 1) * sizeof(Row));
    if (!scores || !parts) {
        free(scores);
        free(parts);
        return 1;
    }
    pieces = 0;
    for (int64_t i = 0; i < count; i++)
        for (int64_t j = 0; j < rows[i].count; j += most)
            parts[pieces++] = {
                rows[i].table, rows[i].position + j, rows[i].token + j, rows[i].count - j < most ? rows[i].count - j : most
            };
    const int64_t each = WIDTH * size;
    data += 2 * slot * heads * each;
    // A thread takes several heads of parts at a time: asking for each costs more than small ones take.
    int64_t chunk = pieces * heads / (8 * threads);
    chunk = chunk < 1 ? 1 : chunk > 16 ? 16 : chunk;
    auto cached = [&](const Row &row, int64_t place) {
        return Cached{data + place * each, x * heads * each, tables + row.table * width};
    };
#pragma omp parallel num_threads(threads)
    {
        float *own = scores + omp_get_thread_num() * QUERIES * longest;
        if (pieces > count) {
#pragma omp for collapse(2) schedule(static)
            for (int64_t i = 0; i < count; i++)
                for (int64_t h = 0; h < heads; h++) write_row(rows[i], h, k, v, cached(rows[i], h), cached(rows[i], heads + h), size);
        }
#pragma omp for collapse(2) schedule(dynamic, chunk)
        for (int64_t i = 0; i < pieces; i++)
            for (int64_t h = 0; h < heads; h++) {
                Cached keys = cached(parts[i], h), values = cached(parts[i], heads + h);
                if (pieces == count) write_row(parts[i], h, k, v, keys, values, size);
                attend_row(parts[i], h, q, out, keys, values, groups, size, window, scale, own, longest);
            }
    }
    free(scores);
    free(parts);
    return 0;
}

// Copies pieces of `size` bytes: from[sources[i]] to to[places[i]].
extern "C" void copy(char *to, const int64_t *places, const char *from, const int64_t *sources, int64_t count, int64_t size, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t i = 0; i < count; i++) memcpy(to + places[i] * size, from + sources[i] * size, size);
}

// x and out [rows, size], weights [size]; size a multiple of WIDTH.
extern "C" void norm(const float *x, const float *weights, float *out, int64_t rows, int64_t size, float eps, int threads) {
    const int64_t part = rows * size < WORTH ? rows + 1 : 64;
#pragma omp parallel for num_threads(threads) schedule(static) if (part < rows)
    for (int64_t i = 0; i < rows; i += part)
        normalise(x + i * size, weights, out + i * size, i + part < rows ? part : rows - i, size, eps);
}

// from and to: heads [tokens, heads, size], size a multiple of 2 * WIDTH; cosines and sines [tokens, size].
extern "C" void rotate(
    Packed from, Packed to, const float *cosines, const float *sines, int64_t tokens, int64_t heads, int64_t size, int threads
) {
#pragma omp parallel for num_threads(threads) schedule(static) if (tokens * heads * size >= WORTH)
    for (int64_t t = 0; t < tokens; t++) turn(from, to, t, heads, size, cosines + t * size, sines + t * size);
}

// x, y and out [count], count a multiple of WIDTH.
extern "C" void gate(const float *x, const float *y, float *out, int64_t count, int threads) {
    const int64_t part = count < WORTH ? count + 1 : WORTH / 8;
#pragma omp parallel for num_threads(threads) schedule(static) if (part < count)
    for (int64_t i = 0; i < count; i += part) gated(x + i, y + i, out + i, i + part < count ? part : count - i);
}

// Draws from logits [rows, vocabulary] at uniform numbers u [rows]: ids, their log-probabilities, and whether a draw is nearer to an edge than
// `near` of all. 0, or 1 where there is no memory.
extern "C" int draw(
    const float *logits, const float *u, int64_t rows, int64_t vocabulary, float near, int64_t *ids, float *logprobs, bool *tied, int threads
) {
    const int64_t spans = (vocabulary + SPAN - 1) / SPAN;
    double *sums = (double *)malloc(threads * spans * sizeof(double));
    if (!sums) return 1;
#pragma omp parallel for num_threads(threads) schedule(static) if (rows * vocabulary >= WORTH)
    for (int64_t i = 0; i < rows; i++)
        draw_one(
            logits + i * vocabulary, vocabulary, u[i], near, sums + omp_get_thread_num() * spans, ids + i, logprobs + i, tied + i
        );
    free(sums);
    return 0;
}
