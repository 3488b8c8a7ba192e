// SPDX-License-Identifier: Apache-2.0
/* What an optimizer implements: its moments, and what it does to a tensor: measure (add this rank's
 * part to sums over the ranks, in one or two rounds), absorb (take the sums into moments of rows,
 * columns or tensors), update.
 */
#ifndef TRI_OPTIM_OPTIM_IMPL_H
#define TRI_OPTIM_OPTIM_IMPL_H

#include "kernels/update.h"
#include "optim/optim.h"

enum { TRI_OPTIM_MAX_MOMENTS = 3, TRI_OPTIM_ROUNDS = 2 };

/* What of a tensor a moment has one number for. */
typedef enum tri_optim_extent {
    TRI_OPTIM_ELEMENTS, /* each element of the segment, of the job's moment type */
    TRI_OPTIM_ROWS,     /* each row of the local box, fp32, on all ranks of data and context */
    TRI_OPTIM_COLUMNS,  /* each column of it */
    TRI_OPTIM_TENSOR    /* the tensor: one double, on all ranks */
} tri_optim_extent;

/* A parameter of the model at one step. */
typedef struct tri_optim_tensor {
    const tri_optim_config *config;
    tri_kernels *kernels;
    const tri_row *row;
    const tri_optim_segment *segment;
    tri_box box; /* local box in the tensor */
    int64_t step;
    double lr;           /* its group's factor is in it */
    double weight_decay; /* 0 for rows that do not decay */
    double gradient_scale;
    double squares; /* of the whole model's gradient, scaled */
    bool adapts;
    bool far; /* tri_update_range.far */
    void *moment[TRI_OPTIM_MAX_MOMENTS];
    double *sums[TRI_OPTIM_ROUNDS]; /* of each round: of the whole tensor */
    double *scratch;                /* tri_optim_ops.scratch of the largest tensor */
} tri_optim_tensor;

typedef struct tri_optim_moment {
    const char *name;
    tri_optim_extent extent;
} tri_optim_moment;

/* How large a step is: what a parameterization's factors of the learning rate are made for. */
typedef enum tri_optim_steps {
    TRI_OPTIM_STEPS_OWN,  /* set by norms of whole tensors or of the model: there are no factors */
    TRI_OPTIM_STEPS_SIGN, /* about the learning rate, whatever the gradient's size */
    TRI_OPTIM_STEPS_ADAFACTOR, /* the same, unless weights or the number of the step scale it */
    TRI_OPTIM_STEPS_GRADIENT   /* grow with the gradient */
} tri_optim_steps;

/* A row of optim/list.c. Functions that are NULL are not needed. */
typedef struct tri_optim_ops {
    const char *name;
    const char *doc;
    double betas[2], epsilon; /* its own; 0: it has none */
    tri_optim_steps steps;
    /* Moments kept of a tensor under this config. Writes: out. Returns their number. */
    int (*moments)(const tri_optim_config *config, const tri_row *row,
                   tri_optim_moment out[TRI_OPTIM_MAX_MOMENTS]);
    /* Value that moments begin with; NULL: 0 */
    double (*initial)(const tri_optim_config *config); /* optional */
    /* Check the keys of its own. */
    tri_status (*check)(const tri_optim_config *config); /* optional */
    /* Doubles that a tensor has in round `round`; NULL: no rounds. */
    int64_t (*sums)(const tri_optim_config *config, const tri_row *row, int round); /* optional */
    /* Doubles of scratch for a local box. */
    int64_t (*scratch)(const tri_box *box);                           /* optional */
    tri_status (*measure)(const tri_optim_tensor *tensor, int round); /* optional */
    tri_status (*absorb)(const tri_optim_tensor *tensor, int round);  /* optional */
    tri_status (*update)(const tri_optim_tensor *tensor);
} tri_optim_ops;

/* All optimizers, ended by NULL. */
extern const tri_optim_ops *const tri_optim_list[];

/* Is the tensor one whose rows and columns count: two dimensions, none of them 1? Not collective. */
bool tri_optim_is_matrix(const tri_row *row);

/* The update of a tensor's segment by a rule, with the tensor's numbers and moments filled in: `decay` is
 * lr * weight_decay. Not collective. */
tri_update_args tri_optim_update_args(const tri_optim_tensor *tensor, tri_update_rule rule);

/* Run an update over the segment; where moments are bf16 in runs that are contiguous in the tensor, so that
 * rounding knows each element's place. Not collective. Errors: those of tri_update. */
TRI_MUST_USE tri_status tri_optim_run(const tri_optim_tensor *tensor, tri_update_args *args);

/* Sums of squares of the scaled gradient, for a matrix: row_sums and column_sums are indexed by the whole
 * tensor's rows and columns; NULL: not wanted. Columns want scratch of TRI_FACTOR_PARTS * columns. Not
 * collective. */
TRI_MUST_USE tri_status tri_optim_factor_squares(const tri_optim_tensor *tensor, double *row_sums,
                                                 double *column_sums);

/* A step of a matrix: gradient * row factor * column factor, indexed by the local box's rows and columns
 * (NULL: 1). `sum` not NULL: only the sum of its squares is added to it. Not collective. */
typedef struct tri_optim_factor {
    const float *row, *column;
    double rate, decay;
    double *sum;
} tri_optim_factor;
TRI_MUST_USE tri_status tri_optim_factor_step(const tri_optim_tensor *tensor,
                                              const tri_optim_factor *factor);

/* For optimizers with one or two moments for each element and nothing else. Not collective. */
int tri_optim_one_moment(const tri_optim_config *config, const tri_row *row,
                         tri_optim_moment out[TRI_OPTIM_MAX_MOMENTS]);
int tri_optim_two_moments(const tri_optim_config *config, const tri_row *row,
                          tri_optim_moment out[TRI_OPTIM_MAX_MOMENTS]);

/* The same check for all with betas and an epsilon. Not collective. Errors: TRI_EINVAL with the key. */
TRI_MUST_USE tri_status tri_optim_check_betas(const tri_optim_config *config);

#endif
