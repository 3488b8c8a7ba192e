// SPDX-License-Identifier: Apache-2.0
/* What a pass has left in a model, for measurements: models of one rank that train in fp32, on one stage,
 * without recomputation, after tri_model_forward of slot 0 without gradients.
 */
#ifndef TRI_PARALLEL_MODEL_PROBE_H
#define TRI_PARALLEL_MODEL_PROBE_H

#include "parallel/model.h"

/* The residual stream behind block `layer` - 1 [rows, C]: 0 is what the embedding gives, the number of
 * layers what the last norm reads. Not collective. */
const float *tri_model_probe_stream(const tri_model *model, int64_t layer);

/* The scores of head 0 of block `layer` for the first sequence, before the softmax: out [length, length],
 * [t, s] for s <= t, else 0. Not collective. */
void tri_model_probe_scores(const tri_model *model, int64_t layer, int64_t length, float *out);

/* The logits of the first `rows` tokens: out [rows, vocab] fp32. Not collective. Errors: tri_matmul's. */
TRI_MUST_USE tri_status tri_model_probe_logits(tri_model *model, int64_t rows, float *out);

#endif
