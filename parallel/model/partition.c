// SPDX-License-Identifier: Apache-2.0
/* Blocks shared out over virtual stages. All blocks cost the same, so giving each next one to the stage
 * that would still be cheapest is optimal; the embedding weighs on the first stage, the head on the last.
 */
#include "parallel/model/model_impl.h"

#include <string.h>

/* Multiply-adds that cost as much time as moving one byte: what separates memory from arithmetic on
 * processors with wide products; it matters only for the embedding, which computes nothing. */
enum { PARTITION_OPERATIONS_PER_BYTE = 16 };

/* Operations of a block per token and pass: matrices, and half of the scores (causal). */
static double block_cost(const tri_model_config *config, bool gated)
{
    double C = (double)config->hidden;
    double keys = C / (double)config->heads * (double)config->kv_heads;
    double matrices = 2 * C * C + 2 * C * keys + (gated ? 3 : 2) * C * (double)config->ffn;
    return 2 * matrices + 2 * (double)config->context * C;
}

tri_status tri_model_partition(const tri_model_config *config, int n, tri_model_stage *stages)
{
    TRI_CHECK(n >= 1 && config->layers >= n, TRI_EINVAL,
              "parallel.pipeline x parallel.chunks = %d stages for model.layers %lld: each stage "
              "needs a block; at most %lld",
              n, (long long)config->layers, (long long)config->layers);
    const tri_model_family *family = tri_model_family_find(config->family);
    double C = (double)config->hidden;
    double block = block_cost(config, family->gated);
    /* per token: a row is read, a gradient row read and written in fp32 */
    double embed = C * (2 + 8) * PARTITION_OPERATIONS_PER_BYTE / 3;
    double head = 2 * C * (double)config->vocab;
    for (int s = 0; s < n; s++)
        stages[s].layers = 1;
    for (int64_t left = config->layers - n; left > 0; left--) {
        int best = 0;
        double best_cost = 0;
        for (int s = 0; s < n; s++) {
            double cost = block * (double)(stages[s].layers + 1) + (s == 0 ? embed : 0) +
                          (s == n - 1 ? head : 0);
            if (s > 0 && cost >= best_cost) continue;
            best = s;
            best_cost = cost;
        }
        stages[best].layers++;
    }
    stages[0].first = 0;
    for (int s = 1; s < n; s++)
        stages[s].first = stages[s - 1].first + stages[s - 1].layers;
    return TRI_OK;
}
