// Attention of new tokens to what is cached of their rows, in blocks of a pool: see attention.h.

#include "attention.h"

#include <omp.h>
#include <stdlib.h>

static const int LARGEST = 256;  // head size
static const int QUERIES = 32;   // that share what is read of keys and values
static const int NEAREST = 8192;  // floats that stay in the nearest cache meanwhile

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
template <class Number> struct Cached {
    Number *data;
    int64_t block;
    const int64_t *numbers;
    Number *at(int64_t l, int64_t size) const { return data + numbers[l / WIDTH] * block + l % WIDTH * size; }
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
INLINE void weigh(const float *weights, const Cached<float> &values, int64_t begin, int64_t end, int64_t size, Vector *sum) {
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

// What is cached, as float32 near at hand: as it is, or WIDTH positions from `l` on widened to `room` [WIDTH, size].
INLINE Cached<float> near_by(const Cached<float> &what, int64_t, int64_t, float *) { return what; }
INLINE Cached<float> near_by(const Cached<Half> &what, int64_t l, int64_t size, float *room) {
    const Half *from = what.at(l, size);
    for (int64_t d = 0; d < WIDTH * size; d += WIDTH) store(room + d, load(from + d));
    return {room, 0, what.numbers};
}

// Some queries over a row's keys and values. scores: room for `many` times `room` numbers, room being a multiple of WIDTH no smaller than
// the row.
template <class Number>
INLINE void attend_some(
    const Query *queries, int many, const Cached<Number> &keys, const Cached<Number> &values, int64_t size, float scale, float *scores,
    int64_t room
) {
    alignas(64) float wide[WIDTH * LARGEST];
    const int64_t step = sizeof(Number) < sizeof(float) ? WIDTH : NEAREST / size / WIDTH * WIDTH;
    int64_t lowest = queries[0].first / step * step, highest = queries[many - 1].end;
    Vector tops[QUERIES];
    for (int j = 0; j < many; j++) tops[j] = Vector{} - INFINITY;
    for (int64_t tile = lowest; tile < highest; tile += step) {
        const Cached<float> some = near_by(keys, tile, size, wide);
        for (int j = 0; j < many; j++) {
            int64_t begin = queries[j].first / WIDTH * WIDTH;
            for (int64_t l = tile > begin ? tile : begin; l < tile + step && l < queries[j].end; l += WIDTH) {
                Vector found = scored(queries[j], some.at(l, size), l, size, scale);
                store(scores + j * room + l, found);
                tops[j] = found > tops[j] ? found : tops[j];
            }
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
    for (int64_t tile = lowest; tile < highest; tile += step) {
        const Cached<float> some = near_by(values, tile, size, wide);
        for (int j = 0; j < many; j++) {
            int64_t begin = tile > queries[j].first ? tile : queries[j].first;
            int64_t end = tile + step < queries[j].end ? tile + step : queries[j].end;
            if (begin >= end) continue;
            float *out = queries[j].out;
            Vector sum[LARGEST / WIDTH];
            weigh(scores + j * room, some, begin, end, size, sum);
            for (int64_t d = 0; begin > queries[j].first && d < size / WIDTH; d++) sum[d] += load(out + d * WIDTH);
            float divisor = end == queries[j].end ? totals[j] : 1.0f;
            for (int64_t d = 0; d < size / WIDTH; d++) store(out + d * WIDTH, sum[d] / divisor);
        }
    }
}

// Common head sizes are known to the compiler.
template <class Number>
INLINE void attend_any(
    const Query *queries, int many, const Cached<Number> &keys, const Cached<Number> &values, int64_t size, float scale, float *scores,
    int64_t room
) {
    switch (size) {
        case 32: attend_some(queries, many, keys, values, 32, scale, scores, room); break;
        case 64: attend_some(queries, many, keys, values, 64, scale, scores, room); break;
        case 128: attend_some(queries, many, keys, values, 128, scale, scores, room); break;
        default: attend_some(queries, many, keys, values, size, scale, scores, room);
    }
}

CLONES static void attend_sized(
    const Query *queries, int many, const Cached<float> &keys, const Cached<float> &values, int64_t size, float scale, float *scores,
    int64_t room
) {
    attend_any(queries, many, keys, values, size, scale, scores, room);
}

CLONES static void attend_sized_half(
    const Query *queries, int many, const Cached<Half> &keys, const Cached<Half> &values, int64_t size, float scale, float *scores, int64_t room
) {
    attend_any(queries, many, keys, values, size, scale, scores, room);
}

static void attend_sized(
    const Query *queries, int many, const Cached<Half> &keys, const Cached<Half> &values, int64_t size, float scale, float *scores, int64_t room
) {
    attend_sized_half(queries, many, keys, values, size, scale, scores, room);
}

// Asks for keys or values from position l to end before they are used: blocks lie apart, and the processor foresees only what lies together.
template <class Number> INLINE void ask_for(const Cached<Number> &what, int64_t l, int64_t end, int64_t size) {
    for (l = l / WIDTH * WIDTH; l < end; l += WIDTH) {
        const char *block = (const char *)what.at(l, size);
        for (int64_t d = 0; d < WIDTH * size * (int64_t)sizeof(Number); d += 64) __builtin_prefetch(block + d, 0, 2);
    }
}

static void write_numbers(const float *from, float *to, int64_t size) { memcpy(to, from, size * sizeof(float)); }
CLONES static void write_halves(const float *from, Half *to, int64_t size) {
    for (int64_t d = 0; d < size; d += WIDTH) store(to + d, load(from + d));
}
static void write_numbers(const float *from, Half *to, int64_t size) { write_halves(from, to, size); }

// Writes a row's new tokens into the cache.
template <class Number>
static void write_row(
    const Row &row, int64_t head, Packed k, Packed v, const Cached<Number> &keys, const Cached<Number> &values, int64_t size
) {
    for (int64_t i = 0; i < row.count; i++) {
        write_numbers(k.at(row.token + i, head), keys.at(row.position + i, size), size);
        write_numbers(v.at(row.token + i, head), values.at(row.position + i, size), size);
    }
}

// A head of a token's answer, rounded, from input `j` of a row of activations in tiles on.
CLONES static void write_tiles(const float *from, int64_t size, Half *tiles, int64_t row, int64_t j, int64_t k) {
    for (int64_t d = 0; d < size; d += WIDTH) store(tiles + tile_place(row, j + d, k), load(from + d));
}

// Lets new tokens of a row, all of which are in the cache, attend to it up to themselves.
template <class Number>
static void attend_row(
    const Row &row, int64_t head, Packed q, Packed out, const Cached<Number> &keys, const Cached<Number> &values, int64_t groups, int64_t size,
    int64_t window, float scale, float *scores, int64_t room
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

// Turns pairs (x[d], x[d + half]) of a head by its angles.
CLONES void turn(const float *x, float *out, int64_t size, const float *cosines, const float *sines) {
    const int64_t half = size / 2;
    for (int64_t d = 0; d < half; d += WIDTH) {
        Vector low = load(x + d), high = load(x + d + half);
        store(out + d, low * load(cosines + d) - high * load(sines + d));
        store(out + d + half, high * load(cosines + d + half) + low * load(sines + d + half));
    }
}

int Attention::prepare(int threads) {
    // Rows of many new tokens are shared out among threads in parts that hold as many queries as are attended to at once.
    const int64_t most = groups < QUERIES ? QUERIES / groups : 1;
    longest = pieces = 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t end = rows[i].position + rows[i].count;
        if (rows[i].position < 0 || end > width * WIDTH) return 2;
        for (int64_t j = 0; j * WIDTH < end; j++)
            if (uint64_t(tables[rows[i].table * width + j]) >= uint64_t(blocks)) return 3;
        if (end > longest) longest = end;
        pieces += (rows[i].count + most - 1) / most;
    }
    longest = (longest / WIDTH + 1) * WIDTH;
    scores = (float *)malloc(threads * QUERIES * longest * sizeof(float));
    parts = (Row *)malloc((pieces + 1) * sizeof(Row));
    if (!scores || !parts) return 1;
    pieces = 0;
    for (int64_t i = 0; i < count; i++)
        for (int64_t j = 0; j < rows[i].count; j += most)
            parts[pieces++] = {
                rows[i].table, rows[i].position + j, rows[i].token + j, rows[i].count - j < most ? rows[i].count - j : most
            };
    // A thread takes several heads of parts at a time: asking for each costs more than small ones take.
    chunk = pieces * heads / (8 * threads);
    chunk = chunk < 1 ? 1 : chunk > 16 ? 16 : chunk;
    return 0;
}

Attention::~Attention() {
    free(scores);
    free(parts);
}

// Normalises and turns a head of new queries or keys where they are.
void Attention::turn_rows(const Row &row, int64_t head, Packed what, const float *norm, const Turns &turns) const {
    for (int64_t i = 0; turns.cosines && i < row.count; i++) {
        float *x = what.at(row.token + i, head);
        const int64_t position = (row.position + i) * size;
        if (norm) normalise(x, norm, x, 1, size, turns.eps);
        turn(x, x, size, turns.cosines + position, turns.sines + position);
    }
}

template <class Number>
void Attention::layer(Packed q, Packed k, Packed v, Packed out, Number *data, int64_t slot, int64_t window, float scale, const Turns &turns, Half *tiles) const {
    const int64_t each = WIDTH * size;
    data += 2 * slot * heads * each;
    auto cached = [&](const Row &row, int64_t place) {
        return Cached<Number>{data + place * each, x * heads * each, tables + row.table * width};
    };
    float *own = scores + omp_get_thread_num() * QUERIES * longest;
    if (pieces > count) {
#pragma omp for collapse(2) schedule(static)
        for (int64_t i = 0; i < count; i++)
            for (int64_t h = 0; h < heads; h++) {
                turn_rows(rows[i], h, k, turns.key_norm, turns);
                write_row(rows[i], h, k, v, cached(rows[i], h), cached(rows[i], heads + h), size);
            }
    }
#pragma omp for collapse(2) schedule(dynamic, chunk)
    for (int64_t i = 0; i < pieces; i++)
        for (int64_t h = 0; h < heads; h++) {
            const Row &row = parts[i];
            Cached<Number> keys = cached(row, h), values = cached(row, heads + h);
            if (pieces == count) {
                turn_rows(row, h, k, turns.key_norm, turns);
                write_row(row, h, k, v, keys, values, size);
            }
            for (int64_t g = h * groups; g < (h + 1) * groups; g++) turn_rows(row, g, q, turns.query_norm, turns);
            attend_row(row, h, q, out, keys, values, groups, size, window, scale, own, longest);
            for (int64_t t = row.token; tiles && t < row.token + row.count; t++)
                for (int64_t g = h * groups; g < (h + 1) * groups; g++)
                    write_tiles(out.at(t, g), size, tiles, t, g * size, heads * groups * size);
        }
}

template void Attention::layer(Packed, Packed, Packed, Packed, float *, int64_t, int64_t, float, const Turns &, Half *) const;
template void Attention::layer(Packed, Packed, Packed, Packed, Half *, int64_t, int64_t, float, const Turns &, Half *) const;

// 0, 1 where there is no memory, 2 where a row has no room for its new tokens, 3 where a block is none of the pool's.
extern "C" int attend(
    Packed q, Packed k, Packed v, Packed out, const Row *rows, int64_t count, const int64_t *tables, int64_t width, void *data, int half,
    int64_t blocks, int64_t x, int64_t slot, int64_t heads, int64_t groups, int64_t size, int64_t window, float scale, int threads
) {
    Attention attention{rows, count, tables, width, blocks, x, heads, groups, size};
    if (int failed = attention.prepare(threads)) return failed;
#pragma omp parallel num_threads(threads)
    if (half)
        attention.layer(q, k, v, out, (Half *)data, slot, window, scale, {}, nullptr);
    else
        attention.layer(q, k, v, out, (float *)data, slot, window, scale, {}, nullptr);
    return 0;
}
