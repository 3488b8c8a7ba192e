// SPDX-License-Identifier: Apache-2.0
/* The reference of the model tests: both families in plain double precision, one number at a time, from
 * the state table's rows by name. It shares no code with the library but the random numbers.
 */
#ifndef TRI_TESTS_PARALLEL_MODEL_REFERENCE_H
#define TRI_TESTS_PARALLEL_MODEL_REFERENCE_H

#include "tests/parallel/model_rig.h"
#include "tests/parallel/scalar.h"

enum { REF_MAX = 4096 }; /* elements of any activation of one sequence */

/* Weights in double (same offsets as the rig's flat buffer) and what to compute. */
typedef struct reference {
    const model_rig *rig;
    double *weight;
    double dropout;
    double logits[REF_MAX];
} reference;

static inline const double *ref_row(const reference *ref, int64_t layer, const char *name)
{
    char full[2 * TRI_NAME_BYTES] = "param/";
    if (layer >= 0) snprintf(full, sizeof full, "param/layers.%lld.", (long long)layer);
    size_t used = strlen(full);
    snprintf(full + used, sizeof full - used, "%s", name);
    int i = tri_state_find(ref->rig->state, full);
    return i < 0 ? NULL : ref->weight + ref->rig->offset[i];
}

/* NAME.weight and NAME.bias; NULL where the model has none. */
static inline void ref_pair(const reference *ref, int64_t layer, const char *name, const double **w,
                            const double **b)
{
    char full[TRI_NAME_BYTES];
    snprintf(full, sizeof full, "%s.weight", name);
    *w = ref_row(ref, layer, full);
    snprintf(full, sizeof full, "%s.bias", name);
    *b = ref_row(ref, layer, full);
}

static inline void ref_linear(const reference *ref, int64_t layer, const char *name,
                              const double *x, const int64_t shape[3], double *y)
{
    const double *w = NULL;
    const double *b = NULL;
    ref_pair(ref, layer, name, &w, &b);
    scalar_linear(shape, x, w, b, y);
}

static inline void ref_norm(const reference *ref, int64_t layer, const char *name, const double *x,
                            int64_t rows, double *y)
{
    const tri_model_config *config = &ref->rig->config;
    const double *w = NULL;
    const double *b = NULL;
    ref_pair(ref, layer, name, &w, &b);
    scalar_norm((int64_t[]){rows, config->hidden}, (double)(float)config->norm_epsilon, x, w, b, y);
}

static inline void ref_dropout(const reference *ref, int64_t site, int64_t sample, int64_t n,
                               double *x)
{
    if (ref->dropout <= 0) return;
    tri_rng rng = {11, ((uint64_t)site << 40) + (uint64_t)sample, TRI_RNG_DROPOUT};
    for (int64_t i = 0; i < n; i++)
        x[i] = tri_rng_uniform(rng, (uint64_t)i) >= (float)ref->dropout
                   ? x[i] / (1 - (double)(float)ref->dropout)
                   : 0;
}

static inline bool ref_is_mup(const tri_model_config *config)
{
    return strcmp(config->parameterization, "mup") == 0;
}

static inline double ref_score_scale(const tri_model_config *config)
{
    double head = (double)config->hidden / (double)config->heads;
    return config->attention_multiplier / (ref_is_mup(config) ? head : sqrt(head));
}

static inline double ref_logit_scale(const tri_model_config *config)
{
    double ratio = (double)config->hidden / (double)config->base_hidden;
    return config->output_multiplier / (ref_is_mup(config) ? ratio : 1);
}

static inline void ref_attention(const reference *ref, int64_t layer, const double *y, int64_t T,
                                 double *branch)
{
    const tri_model_config *config = &ref->rig->config;
    int64_t C = config->hidden;
    const int64_t heads[3] = {config->heads, config->kv_heads, C / config->heads};
    int64_t width = heads[1] * heads[2];
    double q[REF_MAX], k[REF_MAX], v[REF_MAX], mix[REF_MAX];
    ref_linear(ref, layer, "attention.q", y, (int64_t[]){T, C, C}, q);
    ref_linear(ref, layer, "attention.k", y, (int64_t[]){T, C, width}, k);
    ref_linear(ref, layer, "attention.v", y, (int64_t[]){T, C, width}, v);
    if (strcmp(config->family, "llama") == 0) {
        scalar_rotate(T, heads[0], heads[2], config->rope_theta, q);
        scalar_rotate(T, heads[1], heads[2], config->rope_theta, k);
    }
    for (int64_t h = 0; h < heads[0]; h++)
        scalar_head(T, h, heads, ref_score_scale(config), q, k, v, mix);
    ref_linear(ref, layer, "attention.out", mix, (int64_t[]){T, C, C}, branch);
}

static inline void ref_mlp(const reference *ref, int64_t layer, const double *y, int64_t T,
                           double *branch)
{
    const tri_model_config *config = &ref->rig->config;
    int64_t C = config->hidden;
    int64_t F = config->ffn;
    bool gated = strcmp(config->family, "llama") == 0;
    double up[REF_MAX], gate[REF_MAX];
    ref_linear(ref, layer, "mlp.up", y, (int64_t[]){T, C, F}, up);
    if (gated) ref_linear(ref, layer, "mlp.gate", y, (int64_t[]){T, C, F}, gate);
    for (int64_t i = 0; i < T * F; i++)
        up[i] = gated ? scalar_swiglu(gate[i], up[i]) : scalar_gelu(up[i]);
    ref_linear(ref, layer, "mlp.down", up, (int64_t[]){T, F, C}, branch);
}

static inline void ref_add(int64_t n, const double *branch, double *x)
{
    for (int64_t i = 0; i < n; i++)
        x[i] += branch[i];
}

/* Sum of the losses of one sequence; ref->logits [T, vocab] =. */
static inline double ref_sequence(reference *ref, const int32_t *ids, const int32_t *target,
                                  int64_t sample, int64_t T)
{
    const tri_model_config *config = &ref->rig->config;
    int64_t C = config->hidden;
    int64_t V = config->vocab;
    double x[REF_MAX], y[REF_MAX], branch[REF_MAX];
    const double *token = ref_row(ref, -1, "embed.token.weight");
    const double *position = ref_row(ref, -1, "embed.position.weight");
    for (int64_t i = 0; i < T * C; i++)
        x[i] = config->embedding_multiplier *
               (token[ids[i / C] * C + i % C] + (position ? position[i] : 0));
    ref_dropout(ref, 0, sample, T * C, x);
    for (int64_t layer = 0; layer < config->layers; layer++) {
        ref_norm(ref, layer, "norm1", x, T, y);
        ref_attention(ref, layer, y, T, branch);
        ref_dropout(ref, 1 + 2 * layer, sample, T * C, branch);
        ref_add(T * C, branch, x);
        ref_norm(ref, layer, "norm2", x, T, y);
        ref_mlp(ref, layer, y, T, branch);
        ref_dropout(ref, 2 + 2 * layer, sample, T * C, branch);
        ref_add(T * C, branch, x);
    }
    ref_norm(ref, -1, "norm", x, T, y);
    ref_linear(ref, -1, config->tied ? "embed.token" : "head", y, (int64_t[]){T, C, V},
               ref->logits);
    for (int64_t i = 0; i < T * V; i++)
        ref->logits[i] *= ref_logit_scale(config);
    double loss = 0;
    for (int64_t t = 0; t < T; t++) {
        if (target[t] < 0) continue;
        double sum = 0;
        for (int64_t i = 0; i < V; i++)
            sum += exp(ref->logits[t * V + i]);
        loss += log(sum) - ref->logits[t * V + target[t]];
    }
    return loss;
}

/* Sum of the losses of a batch. */
static inline double ref_loss(reference *ref, const tri_micro_batch *batch)
{
    double loss = 0;
    for (int64_t s = 0; s < batch->sequences; s++) {
        int64_t at = s * batch->length;
        loss += ref_sequence(ref, batch->tokens + at, batch->targets + at, batch->sample[s],
                             batch->length);
    }
    return loss;
}

#endif
