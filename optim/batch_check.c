// SPDX-License-Identifier: Apache-2.0
/* The keys of batch.adaptive and batch.ramp: ranges, and what makes no sense together. */
#include "optim/batch_rule.h"

#include <math.h>
#include <string.h>

/* Largest batch.sequences of a job spec. */
static const int64_t most_sequences = 1000000000;

const char *const *tri_batch_tests(void)
{
    static const char *const names[] = {
        "off", "norm", "inner_product", "augmented", "coordinate", "noise_scale", NULL};
    return names;
}

const char *const *tri_batch_lrs(void)
{
    static const char *const names[] = {"none", "linear", "sqrt", NULL};
    return names;
}

bool tri_batch_varies(const tri_batch_config *config)
{
    return config->adaptive.test != TRI_BATCH_OFF || config->ramp.to != 0;
}

int tri_batch_groups(const tri_batch_config *config)
{
    return config->adaptive.test != TRI_BATCH_OFF ? config->adaptive.groups : 1;
}

int64_t tri_batch_round(const tri_batch_config *config)
{
    if (!tri_batch_varies(config)) return config->sequences;
    return config->adaptive.quantum / tri_batch_groups(config);
}

int64_t tri_batch_largest(const tri_batch_config *config)
{
    if (config->adaptive.test != TRI_BATCH_OFF) return config->adaptive.max;
    return config->ramp.to != 0 ? config->ramp.to : config->sequences;
}

double tri_batch_lr_factor(const tri_batch_config *config, int64_t sequences)
{
    double k = (double)sequences / (double)config->sequences;
    return tri_rules_lr_factor((tri_rules_scale)config->adaptive.lr, k);
}

/* A batch that must be so many quanta. */
static tri_status check_multiple(const char *key, int64_t value, int64_t quantum)
{
    int64_t below = value / quantum * quantum;
    TRI_CHECK(value == below, TRI_EINVAL,
              "%s is %lld; it must be a multiple of batch.adaptive.quantum (%lld)%s: %lld or %lld",
              key, (long long)value, (long long)quantum, below > 0 ? "" : ", at least one",
              (long long)(below > 0 ? below : quantum),
              (long long)(below > 0 ? below + quantum : 2 * quantum));
    return TRI_OK;
}

static tri_status check_above(const char *key, int64_t value, int64_t sequences)
{
    TRI_CHECK(value > sequences && value <= most_sequences, TRI_EINVAL,
              "%s is %lld; it must be > batch.sequences (%lld), with which the job begins, and <= "
              "%lld",
              key, (long long)value, (long long)sequences, (long long)most_sequences);
    return TRI_OK;
}

static tri_status check_quantum(tri_batch_config *config)
{
    tri_batch_adaptive *a = &config->adaptive;
    TRI_CHECK(config->sequences >= 1, TRI_EINVAL, "batch.sequences is %lld; it must be >= 1",
              (long long)config->sequences);
    TRI_CHECK(
        a->quantum >= 0 && a->quantum <= config->sequences, TRI_EINVAL,
        "batch.adaptive.quantum is %lld; it must be between 1 and batch.sequences (%lld), or 0 "
        "for the latter",
        (long long)a->quantum, (long long)config->sequences);
    if (a->quantum == 0) a->quantum = config->sequences;
    return check_multiple("batch.sequences", config->sequences, a->quantum);
}

/* One of eta, theta, nu. Below 1: as the mean of the squares is |G|^2 + V / batch, a test with 1 or more
 * of eta passes at any batch. */
static tri_status check_share(const char *key, double value, bool below_one)
{
    TRI_CHECK(isfinite(value) && value > 0 && (!below_one || value < 1), TRI_EINVAL,
              "batch.adaptive.%s is %g; it must be > 0%s", key, value,
              below_one ? " and < 1 (from 1 on the test always passes)" : "");
    return TRI_OK;
}

static tri_status check_limits(const tri_batch_adaptive *a)
{
    bool has_eta = a->test == TRI_BATCH_NORM || a->test == TRI_BATCH_COORDINATE;
    bool has_theta = a->test == TRI_BATCH_INNER_PRODUCT || a->test == TRI_BATCH_AUGMENTED;
    if (has_eta) TRI_TRY(check_share("eta", a->eta, true));
    if (has_theta) TRI_TRY(check_share("theta", a->theta, false));
    if (a->test == TRI_BATCH_AUGMENTED) TRI_TRY(check_share("nu", a->nu, false));
    TRI_CHECK(isfinite(a->growth) && a->growth > 1, TRI_EINVAL,
              "batch.adaptive.growth is %g; it must be > 1", a->growth);
    TRI_CHECK(a->smoothing >= 0 && a->smoothing < 1, TRI_EINVAL,
              "batch.adaptive.smoothing is %g; it must be >= 0 and < 1", a->smoothing);
    TRI_CHECK(a->interval >= 1, TRI_EINVAL, "batch.adaptive.interval is %lld; it must be >= 1",
              (long long)a->interval);
    return TRI_OK;
}

/* Multiples of `groups` around the quantum, that people may choose from. */
static tri_status check_groups(const tri_batch_adaptive *a)
{
    TRI_CHECK(a->groups >= TRI_BATCH_MIN_GROUPS && a->groups <= TRI_BATCH_MAX_GROUPS, TRI_EINVAL,
              "batch.adaptive.groups is %d; it must be between %d and %d", a->groups,
              TRI_BATCH_MIN_GROUPS, TRI_BATCH_MAX_GROUPS);
    int64_t below = a->quantum / a->groups * a->groups;
    TRI_CHECK(
        a->quantum == below, TRI_EINVAL,
        "batch.adaptive.quantum is %lld (0: batch.sequences); batch.adaptive.groups (%d) must "
        "divide it: %lld or %lld",
        (long long)a->quantum, a->groups, (long long)(below > 0 ? below : a->groups),
        (long long)(below > 0 ? below + a->groups : 2 * a->groups));
    return TRI_OK;
}

static tri_status check_adaptive(const tri_batch_config *config, const char *optimizer)
{
    const tri_batch_adaptive *a = &config->adaptive;
    TRI_TRY(check_groups(a));
    TRI_TRY(check_above("batch.adaptive.max", a->max, config->sequences));
    TRI_TRY(check_multiple("batch.adaptive.max", a->max, a->quantum));
    TRI_TRY(check_limits(a));
    if (a->test != TRI_BATCH_COORDINATE) return TRI_OK;
    TRI_CHECK(strncmp(optimizer, "adagrad", strlen("adagrad")) == 0, TRI_EINVAL,
              "batch.adaptive.test: coordinate makes no sense with optimizer.name: %s; it is the "
              "test of adagrad, adagrad_norm and adagrad_rownorm; norm is for all",
              optimizer);
    TRI_CHECK(a->smoothing == 0, TRI_EINVAL,
              "batch.adaptive.smoothing is %g; it must be 0 with test: coordinate, which keeps no "
              "averages of single coordinates",
              a->smoothing);
    return TRI_OK;
}

static tri_status check_ramp(const tri_batch_config *config)
{
    TRI_TRY(check_above("batch.ramp.to", config->ramp.to, config->sequences));
    TRI_TRY(check_multiple("batch.ramp.to", config->ramp.to, config->adaptive.quantum));
    TRI_CHECK(config->ramp.samples >= 1, TRI_EINVAL,
              "batch.ramp.samples is %lld; with batch.ramp.to it must be >= 1",
              (long long)config->ramp.samples);
    return TRI_OK;
}

tri_status tri_batch_resolve(tri_batch_config *config, const char *optimizer)
{
    const tri_batch_adaptive *a = &config->adaptive;
    TRI_CHECK(a->test >= TRI_BATCH_OFF && a->test <= TRI_BATCH_NOISE_SCALE, TRI_EINVAL,
              "batch.adaptive.test %d is unknown", a->test);
    TRI_CHECK(a->lr >= TRI_RULES_NONE && a->lr <= TRI_RULES_SQRT, TRI_EINVAL,
              "batch.adaptive.lr %d is unknown", a->lr);
    TRI_CHECK(a->test == TRI_BATCH_OFF || config->ramp.to == 0, TRI_EINVAL,
              "batch.adaptive.test: %s and batch.ramp.to: %lld make no sense together; one of them "
              "decides on the batch",
              tri_batch_tests()[a->test], (long long)config->ramp.to);
    TRI_CHECK(config->ramp.to != 0 || config->ramp.samples == 0, TRI_EINVAL,
              "batch.ramp.samples is %lld without batch.ramp.to, the batch to grow to",
              (long long)config->ramp.samples);
    if (!tri_batch_varies(config)) return TRI_OK;
    TRI_TRY(check_quantum(config));
    if (a->test != TRI_BATCH_OFF) return check_adaptive(config, optimizer);
    return check_ramp(config);
}
