// SPDX-License-Identifier: Apache-2.0
/* The batch of each step: constant, on a ramp, or adapted to the noise of the gradients, which is
 * measured on some steps from the mean gradients of M groups of samples (McCandlish et al.,
 * arXiv:1812.06162; Byrd et al. 2012; Bollapragada et al., arXiv:1710.11258; Lau et al.,
 * arXiv:2402.11215).
 *
 * A step runs rounds of equally many sequences, quantum / M each; the batch is a multiple of the
 * quantum at all times. On a step with a test the rounds are M groups of equally many rounds;
 * gradients are reduced behind each and added to those before, and tri_batch_observe looks at what
 * this rank counts. So an element is counted once on any mesh, and groups are of samples, not ranks.
 */
#ifndef TRI_OPTIM_BATCH_H
#define TRI_OPTIM_BATCH_H

#include "optim/optim.h"
#include "optim/rules.h"

enum { TRI_BATCH_MIN_GROUPS = 2, TRI_BATCH_MAX_GROUPS = 16 };

/* What asks for more samples. B: batch, g: mean gradient, V: variance of one sample's gradient, summed
 * over coordinates (the trace of its covariance), |G|^2: square of the true gradient's norm. */
typedef enum tri_batch_test {
    TRI_BATCH_OFF,
    TRI_BATCH_NORM,          /* V / (eta^2 ||g||^2) */
    TRI_BATCH_INNER_PRODUCT, /* variance of <g_i, g> / (theta^2 ||g||^4) */
    TRI_BATCH_AUGMENTED, /* that, or variance of what is orthogonal to g / (nu^2 ||g||^2): the larger */
    /* The largest over coordinates j of V_j / (eta^2 g_j^2): 0 where both are 0; a coordinate whose mean
     * is 0 and whose variance is not asks for infinitely many, so that `growth` and `max` are what
     * bounds the batch. */
    TRI_BATCH_COORDINATE,
    TRI_BATCH_NOISE_SCALE /* V / |G|^2; infinite where the estimate of |G|^2 is not above 0 */
} tri_batch_test;

/* Names of the tests, and of all tri_rules_scale, in their order, NULL-terminated. Not collective. */
const char *const *tri_batch_tests(void);
const char *const *tri_batch_lrs(void);

/* The keys of `batch.adaptive:` in a job spec. */
typedef struct tri_batch_adaptive {
    int test;              /* tri_batch_test */
    int groups;            /* M */
    int64_t quantum;       /* sequences; 0: batch.sequences */
    int64_t max;           /* sequences */
    int64_t interval;      /* steps between tests */
    double eta, theta, nu; /* smaller: larger batches */
    double growth;         /* largest factor of one test; one quantum is always allowed */
    double smoothing;      /* weight of the past in moving averages; 0: of the last test alone */
    int lr;                /* tri_rules_scale: the batch to the first one's; of a ramp, too */
} tri_batch_adaptive;

/* The keys of `batch.ramp:`. */
typedef struct tri_batch_ramp {
    int64_t to;      /* last batch, sequences; 0: no ramp */
    int64_t samples; /* over which it grows, in quanta, evenly */
} tri_batch_ramp;

typedef struct tri_batch_config {
    int64_t sequences; /* batch.sequences: of the first step */
    tri_batch_adaptive adaptive;
    tri_batch_ramp ramp;
} tri_batch_config;

/* Check the keys, and fill in the quantum. Not collective. `optimizer`: optimizer.name.
 * Errors: TRI_EINVAL with the key and the range, or what makes no sense together. */
TRI_MUST_USE tri_status tri_batch_resolve(tri_batch_config *config, const char *optimizer);

/* Can the batch change? Not collective. */
bool tri_batch_varies(const tri_batch_config *config);

/* Of a resolved config: sequences of one round, groups of a step with a test (1: there are no tests),
 * and the largest batch. Not collective. */
int64_t tri_batch_round(const tri_batch_config *config);
int tri_batch_groups(const tri_batch_config *config);
int64_t tri_batch_largest(const tri_batch_config *config);

/* Factor of the learning rate for a step of `sequences`. Not collective. */
double tri_batch_lr_factor(const tri_batch_config *config, int64_t sequences);

/* All-reduces over all ranks by tri_batch_decide, and the doubles in all of them. Not collective. */
int tri_batch_messages(const tri_batch_config *config, int64_t *doubles);

typedef struct tri_batch tri_batch;

typedef struct tri_batch_args {
    const tri_batch_config *config;    /* resolved; copied */
    tri_kernels *kernels;              /* kept; NULL on paper */
    const tri_optim_segment *segments; /* row, begin, count, is_counted; copied */
    int n_segments;
} tri_batch_args;

/* Make a controller that begins with batch.sequences. Not collective. Errors: TRI_ENOMEM. */
TRI_MUST_USE tri_status tri_batch_create(const tri_batch_args *args, tri_batch **out);
void tri_batch_destroy(tri_batch **batch);

/* Declare what is kept between groups: 4 bytes for each counted element, times 1 (norm, noise_scale),
 * 2 (coordinate) or M - 1 (inner_product, augmented). Not collective. */
TRI_MUST_USE tri_status tri_batch_declare(tri_batch *batch, tri_arena *arena);

/* Tell where gradients lie (same segments as at create): after commit. Not collective. */
TRI_MUST_USE tri_status tri_batch_bind(tri_batch *batch, const tri_optim_segment *segments);

/* Add the row "batch/controller" (fp64: batch, number of tests, averages, their weight and whose test's
 * they are) where there are tests.
 * Not collective. Keeps: the row's memory, for the life of the controller. */
TRI_MUST_USE tri_status tri_batch_export(tri_batch *batch, tri_state *state);

/* Begin anew, as create does. Not collective. */
void tri_batch_initialise(tri_batch *batch);

/* After a load of the row: does it fit the keys, which may have changed? A batch below batch.sequences
 * becomes that; averages of another test, which do not have all that this one needs, begin anew. Not
 * collective; the same on all ranks. Errors: TRI_EINVAL the batch is above batch.adaptive.max or no
 * multiple of the quantum. */
TRI_MUST_USE tri_status tri_batch_restore(tri_batch *batch);

/* Has some test been decided, since the job began? Not collective. */
bool tri_batch_has_tested(const tri_batch *batch);

/* Sequences of the next step, when the job has consumed `samples`. Not collective. */
int64_t tri_batch_size(const tri_batch *batch, int64_t samples);

/* Does step `step` (1 is the first) have a test? Each interval-th has, until the batch is at its
 * largest. Not collective. */
bool tri_batch_is_due(const tri_batch *batch, int64_t step);

/* Take in the gradients behind group 0 .. M - 1: sums over the groups so far, scaled by 1 / (samples of
 * the whole step), so that the last ones are g; before clipping. Not collective.
 * Cost: reads the counted gradients and the newest of what is kept of them, and writes 4 or 8 bytes each;
 * behind the last group reads them once more, and all that is kept where the test needs it. */
TRI_MUST_USE tri_status tri_batch_observe(tri_batch *batch, int group);

/* What a test found. */
typedef struct tri_batch_report {
    bool is_finite;      /* false: nothing was decided, nothing advances */
    double variance;     /* V of this test, unbiased */
    double gradient;     /* |G|^2 of this test, unbiased: it may be negative */
    double squares;      /* ||g||^2 of this test */
    double noise_scale;  /* of the averages; infinite where that of |G|^2 is not above 0 */
    double wanted;       /* by the test, in samples, before rounding; at most the largest batch */
    int64_t before, now; /* batch of this step and of the next */
} tri_batch_report;

/* Decide on the batch of the steps after this one, from the same sums on all ranks. Collective: world,
 * once behind the last group's observe, only if this step's update is made (a step that is skipped
 * decides nothing). Errors: TRI_ECOMM, TRI_EPEER. */
TRI_MUST_USE tri_status tri_batch_decide(tri_batch *batch, tri_comm *world, tri_batch_report *out);

#endif
