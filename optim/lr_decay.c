// SPDX-License-Identifier: Apache-2.0
/* The lists of decays and of shapes. A new one is a row here, with a function if it falls as no other
 * does.
 */
#include "optim/lr_impl.h"

#include <math.h>
#include <string.h>

static const double pi = 3.14159265358979323846;

/* --- shapes of cooldowns */

static double shape_linear(const tri_lr_config *config, double along)
{
    (void)config;
    return 1 - along;
}

/* Loshchilov & Hutter 2017 (arXiv:1608.03983) eq. 5, one period */
static double shape_cosine(const tri_lr_config *config, double along)
{
    (void)config;
    return 0.5 * (1 + cos(pi * along));
}

static double shape_polynomial(const tri_lr_config *config, double along)
{
    return pow(1 - along, config->power);
}

/* Hägele 2024 (arXiv:2405.18392) */
static double shape_one_minus_sqrt(const tri_lr_config *config, double along)
{
    (void)config;
    return 1 - sqrt(along);
}

#define LR_SHAPES(X)                  \
    X("linear", shape_linear)         \
    X("1-sqrt", shape_one_minus_sqrt) \
    X("cosine", shape_cosine)         \
    X("polynomial", shape_polynomial)

/* --- levels */

static double level_constant(const tri_lr_phase *phase, int64_t step)
{
    (void)phase, (void)step;
    return 1;
}

/* Vaswani 2017 (arXiv:1706.03762) eq. 3, as a share of its peak; without warm-up 1 / sqrt(step) */
static double level_inverse_sqrt(const tri_lr_phase *phase, int64_t step)
{
    int64_t warmup = phase->warmup > 0 ? phase->warmup : 1;
    return step > warmup ? sqrt((double)warmup / (double)step) : 1;
}

/* X(name, level, cooldown, shape); wsd: Hu 2024 (arXiv:2404.06395). */
#define LR_DECAYS(X)                                 \
    X("constant", level_constant, 0, "linear")       \
    X("linear", level_constant, 1, "linear")         \
    X("cosine", level_constant, 1, "cosine")         \
    X("polynomial", level_constant, 1, "polynomial") \
    X("wsd", level_constant, 0.2, NULL)              \
    X("inverse_sqrt", level_inverse_sqrt, 0, NULL)

#define X(name, at) {name, at},
static const tri_lr_shape lr_shapes[] = {LR_SHAPES(X)};
#undef X

#define X(name, level, cooldown, shape) {name, level, cooldown, shape},
static const tri_lr_decay lr_decays[] = {LR_DECAYS(X)};
#undef X

const char *const *tri_lr_shapes(void)
{
#define X(name, at) name,
    static const char *const names[] = {LR_SHAPES(X) NULL};
#undef X
    return names;
}

const char *const *tri_lr_decays(void)
{
#define X(name, level, cooldown, shape) name,
    static const char *const names[] = {LR_DECAYS(X) NULL};
#undef X
    return names;
}

const tri_lr_shape *tri_lr_shape_find(const char *name)
{
    for (size_t i = 0; i < sizeof lr_shapes / sizeof lr_shapes[0]; i++)
        if (strcmp(lr_shapes[i].name, name) == 0) return &lr_shapes[i];
    return NULL;
}

const tri_lr_decay *tri_lr_decay_find(const char *name)
{
    for (size_t i = 0; i < sizeof lr_decays / sizeof lr_decays[0]; i++)
        if (strcmp(lr_decays[i].name, name) == 0) return &lr_decays[i];
    return NULL;
}
