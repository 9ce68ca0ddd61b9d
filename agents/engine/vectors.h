// Vectors of 16 floats, which are the compiler's own: it makes of them what the processor has (tried with AVX-512, AVX2 and SSE; not on ARM). On
// x86 the version of a function that is marked CLONES is chosen when the library is loaded.

#pragma once

#include <math.h>
#include <stdint.h>
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
typedef uint32_t Words __attribute__((vector_size(64)));

typedef uint16_t Half;  // the upper half of a float: bfloat16
typedef Half Halves __attribute__((vector_size(32)));
typedef Half UnalignedHalves __attribute__((vector_size(32), aligned(2)));

static const int WIDTH = 16;  // floats of a vector

INLINE Vector load(const float *at) { return *(const Unaligned *)at; }
INLINE void store(float *at, Vector what) { *(Unaligned *)at = what; }

INLINE Vector load(const Half *at) { return (Vector)(__builtin_convertvector((Halves)(*(const UnalignedHalves *)at), Words) << 16); }

// Rounds to the nearest, ties to even. What is no number stays none.
INLINE void store(Half *at, Vector what) {
    Words bits = (Words)what, near = bits + 0x7fff + (bits >> 16 & 1);
    Words kept = (bits & 0x7fffffff) > 0x7f800000 ? bits | 0x400000 : near;
    *(UnalignedHalves *)at = __builtin_convertvector(kept >> 16, Halves);
}

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

// x / (1 + e^-x).
INLINE Vector swish(Vector x) {
    Vector small = exponential(x > 0 ? -x : x);
    return x * (x > 0 ? Vector{} + 1.0f : small) / (1.0f + small);
}
