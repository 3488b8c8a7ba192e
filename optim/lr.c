// SPDX-License-Identifier: Apache-2.0
/* Phases of a schedule laid out over a job's steps, and the factor of a step. */
#include "optim/lr.h"

#include "optim/lr_impl.h"
#include "optim/rules.h"

#include <math.h>
#include <stdio.h>

/* --- the factor of a step */

static double phase_factor(const tri_lr *lr, const tri_lr_phase *phase, int64_t step)
{
    if (step <= phase->warmup) return (double)step / (double)phase->warmup;
    int64_t level = phase->steps - phase->cooldown;
    if (step <= level) return lr->decay->level(phase, step);
    double final = lr->config.final;
    double along = (double)(step - level) / (double)phase->cooldown;
    return final + (lr->decay->level(phase, level) - final) * lr->shape->at(&lr->config, along);
}

double tri_lr_factor(const tri_lr *lr, int64_t step)
{
    const tri_lr_phase *last = &lr->phase[lr->n_phases - 1];
    const tri_lr_phase *phase = step <= last->begin ? &lr->phase[0] : last;
    int64_t inside = step - phase->begin;
    return phase->peak * phase_factor(lr, phase, inside < phase->steps ? inside : phase->steps);
}

double tri_lr_at(const tri_lr *lr, int64_t step)
{
    return lr->peak * tri_lr_factor(lr, step);
}

/* --- checks */

enum { LR_LIST_BYTES = 128 };

static const char *list_of(const char *const *names, char out[LR_LIST_BYTES])
{
    size_t at = 0;
    for (; *names && at < LR_LIST_BYTES; names++)
        at += (size_t)snprintf(out + at, LR_LIST_BYTES - at, "%s%s", at ? ", " : "", *names);
    return out;
}

/* What one key alone says wrong: a spec that was read has passed this, one made by hand has not. */
static tri_status check_ranges(const tri_lr_config *config)
{
    const struct {
        const char *key;
        double value, max;
        bool above; /* 0 is no value */
    } keys[] = {
        {"warmup_share",   config->warmup_share,   1,    false},
        {"final",          config->final,          1,    false},
        {"power",          config->power,          100,  true },
        {"cooldown",       config->cooldown,       1,    false},
        {"rewarmup_share", config->rewarmup_share, 1,    false},
        {"rewarmup_peak",  config->rewarmup_peak,  1000, true },
    };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        bool is_low = keys[i].above ? !(keys[i].value > 0) : !(keys[i].value >= 0);
        TRI_CHECK(!is_low && keys[i].value <= keys[i].max, TRI_EINVAL,
                  "schedule.%s is %g; it must be %s 0 %s %g", keys[i].key, keys[i].value,
                  keys[i].above ? "above" : "between", keys[i].above ? "and at most" : "and",
                  keys[i].max);
    }
    TRI_CHECK(config->scale_from >= 0, TRI_EINVAL,
              "schedule.scale_from is %lld; it must be at least 1, or 0 for none",
              (long long)config->scale_from);
    return TRI_OK;
}

/* A second phase's keys without one. */
static tri_status check_rewarmup(const tri_lr_config *config)
{
    TRI_CHECK(config->rewarmup_at >= 0 && config->rewarmup_at < 1, TRI_EINVAL,
              "schedule.rewarmup_at is %g; it must be above 0 and below 1, or 0 for none",
              config->rewarmup_at);
    if (config->rewarmup_at > 0) return TRI_OK;
    TRI_CHECK(config->rewarmup == 0 && config->rewarmup_share == 0 && config->rewarmup_peak == 1,
              TRI_EINVAL,
              "schedule.rewarmup %lld, rewarmup_share %g, rewarmup_peak %g: there is no second "
              "phase; schedule.rewarmup_at says after which share of train.steps it begins",
              (long long)config->rewarmup, config->rewarmup_share, config->rewarmup_peak);
    return TRI_OK;
}

/* --- laying out */

/* A warm-up as a spec gives it. */
typedef struct lr_warmup {
    const char *key;
    int64_t steps;
    double share;
} lr_warmup;

/* Shares of the warm-up grow as the batch does (LAMB's "linear-epoch warm-up"); a number of steps is by
 * that rule the same for every batch. */
static tri_status lay_warmup(const tri_lr_args *args, const lr_warmup *warmup, tri_lr_phase *phase)
{
    long long steps = (long long)phase->steps;
    TRI_CHECK(warmup->steps >= 0 && warmup->steps <= phase->steps, TRI_EINVAL,
              "schedule.%s is %lld; it must be between 0 and %lld, the steps %s", warmup->key,
              (long long)warmup->steps, steps,
              phase->steps == args->steps ? "of train.steps" : "of its phase");
    TRI_CHECK(warmup->steps == 0 || warmup->share == 0, TRI_EINVAL,
              "schedule.%s is %lld and schedule.%s_share %g: they say the same, give one of them",
              warmup->key, (long long)warmup->steps, warmup->key, warmup->share);
    phase->warmup = warmup->steps;
    if (warmup->share == 0) return TRI_OK;
    int64_t from = args->config->scale_from > 0 ? args->config->scale_from : args->sequences;
    double share = warmup->share * (double)args->sequences / (double)from;
    TRI_CHECK(share <= 1, TRI_EINVAL,
              "schedule.%s_share is %g for a batch of schedule.scale_from %lld, which is %g for "
              "batch.sequences %lld: at most 1, which is a batch of %.0f",
              warmup->key, warmup->share, (long long)from, share, (long long)args->sequences,
              floor((double)from / warmup->share));
    phase->warmup = llround(share * (double)phase->steps);
    return TRI_OK;
}

static tri_status lay_cooldown(const tri_lr *lr, tri_lr_phase *phase)
{
    double share = lr->decay->cooldown;
    if (!lr->decay->shape && lr->config.cooldown > 0) share = lr->config.cooldown;
    int64_t rest = phase->steps - phase->warmup;
    int64_t steps = llround(share * (double)phase->steps);
    phase->cooldown = steps < rest ? steps : rest;
    double level = lr->decay->level(phase, phase->steps - phase->cooldown);
    TRI_CHECK(
        phase->cooldown == 0 || lr->config.final <= level, TRI_EINVAL,
        "schedule.final is %g, but where the cooldown begins, %s has fallen to %g of the peak: "
        "it must be between 0 and that",
        lr->config.final, lr->decay->name, level);
    return TRI_OK;
}

static tri_status lay_phases(const tri_lr_args *args, tri_lr *lr)
{
    const tri_lr_config *config = args->config;
    int64_t steps = args->steps;
    int64_t first = steps;
    lr->n_phases = 1;
    if (config->rewarmup_at > 0) {
        first = llround(config->rewarmup_at * (double)steps);
        TRI_CHECK(first >= 1 && first < steps, TRI_EINVAL,
                  "schedule.rewarmup_at is %g of train.steps %lld, which is after step %lld: each "
                  "phase needs a step",
                  config->rewarmup_at, (long long)steps, (long long)first);
        lr->n_phases = 2;
    }
    lr->phase[0] = (tri_lr_phase){.steps = first, .peak = 1};
    lr->phase[1] =
        (tri_lr_phase){.begin = first, .steps = steps - first, .peak = config->rewarmup_peak};
    const lr_warmup warmup = {"warmup", config->warmup, config->warmup_share};
    TRI_TRY(lay_warmup(args, &warmup, &lr->phase[0]));
    TRI_TRY(lay_cooldown(lr, &lr->phase[0]));
    if (lr->n_phases == 1) return TRI_OK;
    const lr_warmup again = {"rewarmup", config->rewarmup, config->rewarmup_share};
    TRI_TRY(lay_warmup(args, &again, &lr->phase[1]));
    TRI_TRY(lay_cooldown(lr, &lr->phase[1]));
    return TRI_OK;
}

tri_status tri_lr_make(const tri_lr_args *args, tri_lr *out)
{
    const tri_lr_config *config = args->config;
    tri_lr lr = {.config = *config, .peak = args->lr};
    char known[LR_LIST_BYTES];
    lr.decay = tri_lr_decay_find(config->decay);
    TRI_CHECK(lr.decay, TRI_EINVAL, "schedule.decay '%s' is unknown; known: %s", config->decay,
              list_of(tri_lr_decays(), known));
    lr.shape = tri_lr_shape_find(lr.decay->shape ? lr.decay->shape : config->cooldown_shape);
    TRI_CHECK(lr.shape, TRI_EINVAL, "schedule.cooldown_shape '%s' is unknown; known: %s",
              config->cooldown_shape, list_of(tri_lr_shapes(), known));
    TRI_TRY(check_ranges(config));
    TRI_TRY(check_rewarmup(config));
    TRI_TRY(lay_phases(args, &lr));
    if (config->scale_from > 0)
        lr.peak *= tri_rules_lr_factor((tri_rules_scale)config->scale,
                                       (double)args->sequences / (double)config->scale_from);
    *out = lr;
    return TRI_OK;
}
