// SPDX-License-Identifier: Apache-2.0
/* Updates: one pass over weight, gradient and moments; the compute copy is written on the way, in
 * large steps around the caches (nobody reads it before the step is through). Weights and moments are
 * read before they are written: there, ordinary stores cost no extra read.
 */
#include "kernels/cpu/simd.h"
#include "kernels/cpu/vector_math.h"
#include "kernels/cpu/vector_memory.h"

/* Elements whose copies are streamed, in whole vectors: where copy + begin is aligned. */
typedef struct stream_part {
    int64_t begin, end;
} stream_part;

TRI_INLINE stream_part stream_part_of(const void *copy, bool stream, int64_t begin, int64_t end)
{
    if (!copy || !stream) return (stream_part){end, end};
    int64_t bytes = (int64_t)(((uintptr_t)copy + (uintptr_t)begin * 2) & 63u);
    int64_t head = bytes % 2 ? end : begin + (64 - bytes) % 64 / 2;
    if (head >= end) return (stream_part){end, end};
    return (stream_part){head, head + (end - head) / TRI_V * TRI_V};
}

TRI_INLINE void write_weight(const tri_update_range *range, int64_t i, int64_t lanes, tri_vf w,
                             bool stream)
{
    tri_v_store_f32(range->weight + i, lanes, w);
    if (!range->copy) return;
    tri_bf16 *copy = (tri_bf16 *)range->copy + i;
    if (stream)
        tri_v_stream_bits(copy, tri_v_narrow(w));
    else
        tri_v_store_bits(copy, lanes, tri_v_narrow(w));
}

/* Bits that look random, of places within 2^32 of their tensor (lowbias32 of C. Wellons, "Prospecting for
 * Hash Functions", 2018, with the key's halves added before and within). */
TRI_INLINE tri_vu hash(uint64_t key, tri_vu place)
{
    tri_vu x = place + (uint32_t)key;
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15 ^ (uint32_t)(key >> 32);
    x *= 0x846ca68bu;
    return x ^ x >> 16;
}

TRI_INLINE uint64_t noise_key(const tri_simd_scalars *s, uint64_t place)
{
    return s->key ^ (place >> 32) * 0x9e3779b97f4a7c15u;
}

/* One number for each element, by its place in its tensor: the same wherever a shard is cut. */
TRI_INLINE tri_vu noise_at(const tri_update_args *args, const tri_simd_scalars *s, int64_t i)
{
    uint64_t first = args->index + (uint64_t)i;
    uint64_t last = first + TRI_V - 1;
    tri_vu place = (tri_vu)tri_v_index() + (uint32_t)first;
    tri_vu noise = hash(noise_key(s, first), place);
    if (first >> 32 == last >> 32) return noise;
    tri_vu beyond = (tri_vu)(place < (uint32_t)first); /* the sum has wrapped */
    return (beyond & hash(noise_key(s, last), place)) | (~beyond & noise);
}

/* Returns: the moment as it is stored: bf16 is one of the two neighbours, the nearer one more often. */
TRI_INLINE tri_vf store_moment(void *moment, int64_t i, int64_t lanes, tri_vf a, tri_vu noise,
                               bool bf16)
{
    if (!bf16) {
        tri_v_store_f32((float *)moment + i, lanes, a);
        return a;
    }
    tri_vu bits = tri_v_add_below(a, noise);
    tri_v_store_bits((tri_bf16 *)moment + i, lanes, tri_v_upper(bits));
    return (tri_vf)(bits & 0xffff0000u);
}

typedef struct element {
    tri_vf g, w, m, v;
} element;

/* The step of one vector of elements; `rule` is known where this is compiled. */
TRI_INLINE void apply(tri_update_rule rule, const tri_update_args *a, const tri_simd_scalars *s,
                      element *e)
{
    switch (rule) {
    case TRI_UPDATE_SGD:
        e->m = a->moment[0] ? e->m * s->beta[0] + e->g : e->g;
        e->w -= (a->nesterov ? e->g + e->m * s->beta[0] : e->m) * a->rate;
        break;
    case TRI_UPDATE_ADAM:
    case TRI_UPDATE_ATAN2:
    case TRI_UPDATE_MOMENTS:
        e->m = e->m * s->beta[0] + e->g * s->rest[0];
        e->v = e->v * s->beta[1] + e->g * e->g * s->rest[1];
        if (rule == TRI_UPDATE_ADAM)
            e->w -= s->step_size * (e->m / (tri_v_sqrt(e->v) * s->root_correction + a->epsilon));
        if (rule == TRI_UPDATE_ATAN2)
            e->w -= a->rate * 1.27323954473516268f *
                    tri_v_atan2(e->m * s->correction, tri_v_sqrt(e->v) * s->root_correction);
        break;
    case TRI_UPDATE_ADAMAX:
        e->m = e->m * s->beta[0] + e->g * s->rest[0];
        e->v = tri_v_max(e->v * s->beta[1], (tri_vf)((tri_vu)e->g & 0x7fffffffu) + a->epsilon);
        e->w -= s->step_size * (e->m / e->v);
        break;
    case TRI_UPDATE_LION: {
        tri_vf c = e->m * s->beta[0] + e->g * s->rest[0];
        tri_vf sign = tri_v_select(c > 0.0f, tri_v_set(1),
                                   tri_v_select(c < 0.0f, tri_v_set(-1), c)); /* 0, NaN */
        e->w -= a->rate * sign;
        e->m = e->m * s->beta[1] + e->g * s->rest[1];
        break;
    }
    case TRI_UPDATE_ADAGRAD:
        e->m += e->g * e->g;
        e->w -= a->rate * (e->g / (tri_v_sqrt(e->m) + a->epsilon));
        break;
    case TRI_UPDATE_VARIANCE:
        e->m = e->m * s->beta[0] + (e->g * e->g + a->epsilon) * s->rest[0];
        break;
    case TRI_UPDATE_SCALED:
        e->w -= a->rate * (e->g / tri_v_sqrt(e->m));
        break;
    case TRI_UPDATE_TRUST:
    case TRI_UPDATE_RULES:
        break;
    }
}

/* What LAMB scales: the step of Adam at rate 1, and the decay. */
TRI_INLINE tri_vf trust_step(const tri_update_args *a, const tri_simd_scalars *s, const element *e)
{
    return s->correction * (e->m / (tri_v_sqrt(e->v) * s->root_correction + a->epsilon)) +
           e->w * a->decay;
}

typedef struct squares {
    tri_vd even, odd;
} squares;

TRI_INLINE void add_squares(squares *sum, tri_vf x, int64_t lanes)
{
    tri_vd wide[2];
    tri_v_widen_f64(tri_v_keep(x, lanes), wide);
    sum->even += wide[0] * wide[0];
    sum->odd += wide[1] * wide[1];
}

TRI_INLINE double total(const squares *sum)
{
    tri_vd both = sum->even + sum->odd;
    double out = 0;
    for (int l = 0; l < TRI_V / 2; l++)
        out += both[l];
    return out;
}

/* What is known of a loop where it is compiled. */
typedef struct loop_kind {
    tri_update_rule rule;
    bool bf16, stream;
    bool has_v, measures, keeps_moments;
} loop_kind;

TRI_INLINE loop_kind loop_kind_of(tri_update_rule rule, bool bf16, bool stream)
{
    return (loop_kind){
        .rule = rule,
        .bf16 = bf16,
        .stream = stream,
        .has_v = rule == TRI_UPDATE_ADAM || rule == TRI_UPDATE_ADAMAX || rule == TRI_UPDATE_ATAN2 ||
                 rule == TRI_UPDATE_MOMENTS || rule == TRI_UPDATE_TRUST,
        .measures = rule == TRI_UPDATE_MOMENTS || rule == TRI_UPDATE_VARIANCE,
        .keeps_moments = rule == TRI_UPDATE_TRUST || rule == TRI_UPDATE_SCALED,
    };
}

/* One vector of elements. sums: of squares of w and of u. */
TRI_INLINE void step_at(loop_kind kind, const tri_update_args *a, const tri_simd_scalars *s,
                        int64_t i, int64_t lanes, squares sums[2])
{
    element e = {.w = tri_v_load_f32(a->range.weight + i, lanes)};
    if (a->moment[0]) e.m = tri_v_load(a->moment[0], i, lanes, kind.bf16);
    if (kind.has_v) e.v = tri_v_load(a->moment[1], i, lanes, kind.bf16);
    if (kind.rule == TRI_UPDATE_TRUST) {
        e.w -= a->rate * trust_step(a, s, &e);
    } else {
        e.g = tri_v_load_f32(a->range.gradient + i, lanes) * a->range.gradient_scale + e.w * a->l2;
        if (!kind.measures) e.w *= s->keep;
        apply(kind.rule, a, s, &e);
    }
    if (!kind.keeps_moments) {
        tri_vu noise = kind.bf16 ? noise_at(a, s, i) : (tri_vu){0};
        if (a->moment[0]) e.m = store_moment(a->moment[0], i, lanes, e.m, noise, kind.bf16);
        if (kind.has_v) e.v = store_moment(a->moment[1], i, lanes, e.v, noise >> 16, kind.bf16);
    }
    if (!kind.measures) {
        write_weight(&a->range, i, lanes, e.w, kind.stream);
        return;
    }
    add_squares(&sums[0], e.w, lanes);
    add_squares(&sums[1], kind.has_v ? trust_step(a, s, &e) : e.g / tri_v_sqrt(e.m), lanes);
}

/* A range. One body for whole vectors and the last one: two could round products and sums apart. */
TRI_INLINE void part(loop_kind kind, const tri_update_args *args, const tri_simd_scalars *scalars,
                     int64_t begin, int64_t end, double *sums)
{
    /* copies: a store of ours could be to args or scalars, for all the compiler knows */
    const tri_update_args a = *args;
    const tri_simd_scalars s = *scalars;
    squares sum[2] = {0};
    for (int64_t i = begin; i < end; i += TRI_V)
        step_at(kind, &a, &s, i, tri_v_lanes(i, end), sum);
    if (!kind.measures) return;
    sums[0] += total(&sum[0]);
    sums[1] += total(&sum[1]);
}

/* The loop of each rule and type of moments. */
static void update_part(const tri_update_args *args, const tri_simd_scalars *s, bool stream,
                        int64_t begin, int64_t end, double *sums)
{
    bool bf16 = args->moment_type == TRI_BF16;
    switch (args->rule) {
#define RULE(name)                                                                           \
    case TRI_UPDATE_##name:                                                                  \
        if (bf16)                                                                            \
            part(loop_kind_of(TRI_UPDATE_##name, true, stream), args, s, begin, end, sums);  \
        else                                                                                 \
            part(loop_kind_of(TRI_UPDATE_##name, false, stream), args, s, begin, end, sums); \
        break;
        RULE(SGD)
        RULE(ADAM)
        RULE(ADAMAX)
        RULE(ATAN2)
        RULE(LION)
        RULE(ADAGRAD)
        RULE(MOMENTS)
        RULE(TRUST)
        RULE(VARIANCE)
        RULE(SCALED)
#undef RULE
    case TRI_UPDATE_RULES:
        break;
    }
}

static void update(const tri_update_args *args, const tri_simd_scalars *s, bool stream,
                   int64_t begin, int64_t end, double *sums)
{
    stream_part streamed = stream_part_of(args->range.copy, stream, begin, end);
    update_part(args, s, false, begin, streamed.begin, sums);
    update_part(args, s, true, streamed.begin, streamed.end, sums);
    update_part(args, s, false, streamed.end, end, sums);
    if (stream) tri_v_fence();
}

/* The bits of elements, in the upper halves where they are bf16. */
TRI_INLINE tri_vu bits_at(const void *x, int64_t i, int64_t lanes, bool bf16)
{
    return x ? (tri_vu)tri_v_load(x, i, lanes, bf16) : (tri_vu){0};
}

/* x ^= bits, which are 0 for all that the compiler does not know. Returns: x, to be seen by somebody. */
TRI_INLINE tri_vu visit(void *x, int64_t i, int64_t lanes, tri_vu bits, bool bf16, bool keeps,
                        bool stream)
{
    if (!x) return (tri_vu){0};
    tri_vu old = bits_at(x, i, lanes, bf16);
    if (keeps) return old;
    tri_vu flipped = old ^ bits;
    tri_vh upper = __builtin_convertvector(flipped >> 16, tri_vh);
    if (bf16 && stream)
        tri_v_stream_bits((tri_bf16 *)x + i, upper);
    else if (bf16)
        tri_v_store_bits((tri_bf16 *)x + i, lanes, upper);
    else if (stream)
        tri_v_stream_f32((float *)x + i, (tri_vf)flipped);
    else
        tri_v_store_f32((float *)x + i, lanes, (tri_vf)flipped);
    return (tri_vu){0};
}

TRI_INLINE void write_copy(const tri_update_range *range, int64_t i, int64_t lanes, bool stream)
{
    const float *from = range->gradient ? range->gradient : range->weight;
    tri_vh upper = __builtin_convertvector(bits_at(from, i, lanes, false) >> 16, tri_vh);
    if (stream)
        tri_v_stream_bits((tri_bf16 *)range->copy + i, upper);
    else
        tri_v_store_bits((tri_bf16 *)range->copy + i, lanes, upper);
}

/* All streams side by side. Returns: something of all that was read alone, so that it is read. */
TRI_INLINE tri_vu traffic_part(const tri_update_traffic_args *args, bool stream, bool stream_copy,
                               int64_t begin, int64_t end)
{
    const tri_update_traffic_args a = *args;
    const bool bf16 = a.moment_type == TRI_BF16;
    tri_vu seen = {0};
    for (int64_t i = begin; i < end; i += TRI_V) {
        int64_t lanes = tri_v_lanes(i, end);
        tri_vu g = bits_at(a.range.gradient, i, lanes, false);
        seen |= g;
        seen |= visit(a.m, i, lanes, g & a.flip, bf16, a.keeps_moments, stream);
        seen |= visit(a.v, i, lanes, g & a.flip, bf16, a.keeps_moments, stream);
        seen |= visit(a.range.weight, i, lanes, g & a.flip, false, a.keeps_weight, stream);
        if (a.range.copy) write_copy(&a.range, i, lanes, stream_copy);
    }
    return seen;
}

enum { BLOCK = 1024 };

/* One stream after another, block by block. */
static tri_vu traffic_blocks(const tri_update_traffic_args *a, int64_t begin, int64_t end)
{
    const bool bf16 = a->moment_type == TRI_BF16;
    const struct {
        void *x;
        bool bf16, keeps;
    } streams[] = {
        {a->m,            bf16,  a->keeps_moments},
        {a->v,            bf16,  a->keeps_moments},
        {a->range.weight, false, a->keeps_weight },
    };
    const float *gradient = a->range.gradient;
    tri_vu seen = {0};
    for (int64_t b = begin; b < end; b += BLOCK) {
        int64_t stop = end - b < BLOCK ? end : b + BLOCK;
        for (int64_t i = b; gradient && i < stop; i += TRI_V)
            seen |= bits_at(gradient, i, tri_v_lanes(i, stop), false);
        for (int s = 0; s < 3; s++)
            for (int64_t i = b; streams[s].x && i < stop; i += TRI_V) {
                int64_t lanes = tri_v_lanes(i, stop);
                tri_vu bits = bits_at(gradient, i, lanes, false) & a->flip;
                seen |=
                    visit(streams[s].x, i, lanes, bits, streams[s].bf16, streams[s].keeps, false);
            }
        for (int64_t i = b; a->range.copy && i < stop; i += TRI_V)
            write_copy(&a->range, i, tri_v_lanes(i, stop), false);
    }
    return seen;
}

/* Is everything that is streamed aligned, and the range whole vectors? */
static bool is_aligned(const tri_update_traffic_args *a, int64_t begin, int64_t end)
{
    uintptr_t all = (uintptr_t)a->m | (uintptr_t)a->v | (uintptr_t)a->range.weight |
                    (uintptr_t)a->range.copy | (uintptr_t)(begin * 2) | (uintptr_t)(end * 2);
    return all % 64 == 0;
}

static void traffic(const tri_update_traffic_args *args, int64_t begin, int64_t end)
{
    bool aligned = is_aligned(args, begin, end);
    tri_vu seen = {0};
    if (args->way == TRI_TRAFFIC_BLOCKS)
        seen = traffic_blocks(args, begin, end);
    else if (args->way == TRI_TRAFFIC_STREAM && aligned)
        seen = traffic_part(args, true, true, begin, end);
    else if (args->way == TRI_TRAFFIC_COPY && aligned)
        seen = traffic_part(args, false, true, begin, end);
    else
        seen = traffic_part(args, false, false, begin, end);
    volatile tri_vu witness = seen;
    (void)witness;
    tri_v_fence();
}

const tri_simd_update TRI_ISA_NAME(tri_simd_update) = {
    .update = update,
    .traffic = traffic,
};
