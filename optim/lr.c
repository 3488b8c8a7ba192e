// SPDX-License-Identifier: Apache-2.0
/* Warm-up, then constant, linear, cosine (Loshchilov & Hutter, arXiv:1608.03983) or
 * warm-up-stable-decay (Hu et al., arXiv:2404.06395). */
#include "optim/lr.h"

#include <math.h>
#include <string.h>

static const double pi = 3.14159265358979323846;

static bool decay_is(const tri_lr_config *config, const char *name)
{
    return strcmp(config->decay, name) == 0;
}

double tri_lr_factor(const tri_lr_config *config, int64_t step, int64_t steps)
{
    if (step <= config->warmup) return (double)step / (double)config->warmup;
    if (decay_is(config, "constant")) return 1;

    int64_t begin = config->warmup;
    if (decay_is(config, "wsd")) {
        begin = steps - (int64_t)llround(config->cooldown * (double)steps);
        if (begin < config->warmup) begin = config->warmup;
        if (step <= begin) return 1;
    }
    if (step >= steps) return config->final;
    double along = (double)(step - begin) / (double)(steps - begin);
    double shape = decay_is(config, "cosine") ? 0.5 * (1 + cos(pi * along)) : 1 - along;
    return config->final + (1 - config->final) * shape;
}

tri_status tri_lr_check(const tri_lr_config *config, int64_t steps)
{
    TRI_CHECK(decay_is(config, "constant") || decay_is(config, "linear") ||
                  decay_is(config, "cosine") || decay_is(config, "wsd"),
              TRI_EINVAL, "schedule.decay '%s' is unknown; known: constant, linear, cosine, wsd",
              config->decay);
    TRI_CHECK(config->warmup >= 0 && config->warmup <= steps, TRI_EINVAL,
              "schedule.warmup is %lld; it must be between 0 and train.steps (%lld)",
              (long long)config->warmup, (long long)steps);
    TRI_CHECK(config->final >= 0 && config->final <= 1, TRI_EINVAL,
              "schedule.final is %g; it must be between 0 and 1", config->final);
    TRI_CHECK(config->cooldown >= 0 && config->cooldown <= 1, TRI_EINVAL,
              "schedule.cooldown is %g; it must be between 0 and 1", config->cooldown);
    return TRI_OK;
}
