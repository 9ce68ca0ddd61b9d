// What a CPU does most in generation beside matrix products and attention, each in one call for all rows: norms, rotary positions, gates and
// draws, all in float32, and copies between caches.
// kernels.py is the only caller and says what the arguments are. Threads come from the OpenMP library that torch has loaded.

#include "attention.h"

#include <omp.h>
#include <stdlib.h>

static const int64_t SPAN = 256; // logits whose probabilities are summed up together

CLONES void normalise(const float *x, const float *weights, float *out, int64_t rows, int64_t size, float eps) {
    for (int64_t i = 0; i < rows; i++, x += size, out += size) {
        Vector squares[2] = {};
        for (int64_t d = 0; d < size; d += WIDTH) squares[d / WIDTH % 2] += load(x + d) * load(x + d);
        float scale = 1.0f / sqrtf(total(squares[0] + squares[1]) / size + eps);
        for (int64_t d = 0; d < size; d += WIDTH) store(out + d, load(x + d) * scale * load(weights + d));
    }
}

// x / (1 + e^-x) * y.
CLONES static void gated(const float *x, const float *y, float *out, int64_t count) {
    for (int64_t i = 0; i < count; i += WIDTH) store(out + i, swish(load(x + i)) * load(y + i));
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

// Changes with what the functions below take or compute, so that kernels.py refuses a library that was built from other versions of these files.
extern "C" int version() { return 8; }

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
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t h = 0; h < heads; h++) turn(from.at(t, h), to.at(t, h), size, cosines + t * size, sines + t * size);
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
