// SPDX-License-Identifier: Apache-2.0
/* Estimates of the noise of gradients, the tests of adaptive sampling, and the batch that follows.
 *
 * The scatter of the groups' means is b / (M - 1) times an unbiased estimate of V / b, whatever the
 * samples' distribution; nothing here knows how ranks share them.
 */
#include "optim/batch_rule.h"

#include "runtime/base/int.h"

#include <math.h>

/* Sums in another order differ in their last bits: a wanted batch that exceeds a whole number by less
 * than this share of it is that number, on every mesh. */
static const double same_share = 1e-9;

static double mean_of(int n, const double *x)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += x[i];
    return sum / n;
}

static double variance_of(int n, const double *x)
{
    double mean = mean_of(n, x);
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += (x[i] - mean) * (x[i] - mean);
    return sum / (n - 1);
}

/* a / b of what cannot be negative but for rounding and noise: none asked for, or more than there are. */
static double ratio_of(double a, double b)
{
    if (a <= 0) return 0;
    return b > 0 ? a / b : INFINITY;
}

tri_batch_estimates tri_batch_estimate(const tri_batch_sums *sums)
{
    double b = sums->samples / sums->groups;
    tri_batch_estimates e = {.variance = b / (sums->groups - 1) * sums->scatter,
                             .squares = sums->squares};
    e.gradient = e.squares - e.variance / sums->samples;
    e.parallel = b * variance_of(sums->groups, sums->product);
    double along = e.squares > 0 ? e.parallel / e.squares : 0;
    e.orthogonal = fmax(e.variance - along, 0);
    return e;
}

double tri_batch_target(const tri_batch_adaptive *config, const tri_batch_estimates *e,
                        const tri_batch_sums *sums)
{
    double parallel =
        ratio_of(e->parallel, config->theta * config->theta * e->squares * e->squares);
    double orthogonal = ratio_of(e->orthogonal, config->nu * config->nu * e->squares);
    switch ((tri_batch_test)config->test) {
    case TRI_BATCH_OFF:
        return 0;
    case TRI_BATCH_NORM:
        return ratio_of(e->variance, config->eta * config->eta * e->squares);
    case TRI_BATCH_INNER_PRODUCT:
        return parallel;
    case TRI_BATCH_AUGMENTED:
        return fmax(parallel, orthogonal);
    case TRI_BATCH_COORDINATE:
        return sums->samples / sums->groups / (sums->groups - 1) * sums->ratio /
               (config->eta * config->eta);
    case TRI_BATCH_NOISE_SCALE:
        return ratio_of(e->variance, e->gradient);
    }
    return 0;
}

/* The largest batch that one test may lead to: a multiple of the quantum. */
static int64_t growth_limit(const tri_batch_adaptive *config, int64_t batch)
{
    double quantum = (double)config->quantum;
    double limit = floor(config->growth * (1 + same_share) * (double)batch / quantum) * quantum;
    if (limit >= (double)config->max) return config->max;
    return tri_min64(tri_max64((int64_t)limit, batch + config->quantum), config->max);
}

int64_t tri_batch_next(const tri_batch_adaptive *config, int64_t batch, double target)
{
    int64_t limit = growth_limit(config, batch);
    double whole = ceil(target * (1 - same_share));
    if (!(whole < (double)limit)) return tri_max64(limit, batch);
    int64_t rounded = tri_round_up((int64_t)whole, config->quantum);
    return tri_max64(tri_min64(rounded, limit), batch);
}

int64_t tri_batch_ramp_at(const tri_batch_config *config, int64_t samples)
{
    int64_t quantum = config->adaptive.quantum;
    int64_t increments = (config->ramp.to - config->sequences) / quantum;
    if (samples >= config->ramp.samples) return config->ramp.to;
    __extension__ __int128 along = (__int128)samples * increments;
    return config->sequences + (int64_t)(along / config->ramp.samples) * quantum;
}
