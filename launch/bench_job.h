// SPDX-License-Identifier: Apache-2.0
/* The job that `bench step`, `bench scaling` and `bench layouts` time: its options, its spec, and its random tokens.
 */
#ifndef TRI_LAUNCH_BENCH_JOB_H
#define TRI_LAUNCH_BENCH_JOB_H

#include "launch/bench.h"

/* Options, with the benchmark's own values at first. */
typedef struct tri_bench_job_options {
    const char *family, *precision; /* borrowed from argv */
    const char *parallel;           /* the spec's block, "tensor: 2"; NULL: "zero: N" */
    const char *only;               /* part of the names of what is measured; NULL: all */
    int64_t layers, hidden, heads, kv_heads, vocab, sequence;
    int64_t long_sequence; /* of layouts for long sequences */
    int64_t batch;         /* sequences that a rank takes through one forward and backward pass */
    int64_t accumulation;  /* passes of a step */
    int64_t zero;
    int64_t rounds; /* slices of each kind */
    bool shapes;    /* one line per product too */
} tri_bench_job_options;

/* The model of the benchmarks unless options say otherwise: GPT-2 with 124 million parameters. */
#define TRI_BENCH_JOB_124M \
    .family = "gpt2", .precision = "bf16", .layers = 12, .hidden = 768, .heads = 12, .vocab = 50257

/* Read the options behind the benchmark's name over what is in *options. Not collective.
 * Errors: TRI_EINVAL option and range. */
TRI_MUST_USE tri_status tri_bench_job_parse(const tri_bench_args *args,
                                            tri_bench_job_options *options);

/* Random uint16 tokens in a file without a name; *fd is closed by the caller, after the job. Enough
 * for two global batches of `n_ranks`. Not collective. Errors: TRI_EIO. */
TRI_MUST_USE tri_status tri_bench_job_tokens(const tri_bench_job_options *options, int n_ranks,
                                             int *fd);

/* The checked spec of a job of `n_ranks` ranks over these tokens. Not collective.
 * Errors: TRI_EINVAL with the key. */
TRI_MUST_USE tri_status tri_bench_job_spec(const tri_bench_job_options *options, int n_ranks,
                                           int fd, tri_spec *out);

#endif
