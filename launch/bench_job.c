// SPDX-License-Identifier: Apache-2.0
/* Jobs of benchmarks are ordinary jobs: their spec goes through the parser and the checks of all. */
#include "launch/bench_job.h"

#include "launch/commands.h"
#include "runtime/base/alloc.h"
#include "runtime/base/rng.h"

#include <getopt.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SPEC_BYTES = 1024, TOKEN_BATCHES = 2, WORDS_OF_BLOCK = 4 };

/* Options that take a number, in the order of `numbers` in tri_bench_job_parse. */
static const struct option job_options[] = {
    {"layers",       required_argument, NULL, 0  },
    {"hidden",       required_argument, NULL, 1  },
    {"heads",        required_argument, NULL, 2  },
    {"kv-heads",     required_argument, NULL, 3  },
    {"vocab",        required_argument, NULL, 4  },
    {"sequence",     required_argument, NULL, 5  },
    {"batch",        required_argument, NULL, 6  },
    {"accumulation", required_argument, NULL, 7  },
    {"zero",         required_argument, NULL, 8  },
    {"rounds",       required_argument, NULL, 9  },
    {"long",         required_argument, NULL, 10 },
    {"parallel",     required_argument, NULL, 'l'},
    {"only",         required_argument, NULL, 'o'},
    {"family",       required_argument, NULL, 'f'},
    {"precision",    required_argument, NULL, 'p'},
    {"shapes",       no_argument,       NULL, 's'},
    {NULL,           0,                 NULL, 0  }
};

tri_status tri_bench_job_parse(const tri_bench_args *args, tri_bench_job_options *options)
{
    const struct {
        int64_t *value, min, max;
    } numbers[] = {
        {&options->layers,        1, 1000   },
        {&options->hidden,        1, 1 << 20},
        {&options->heads,         1, 1 << 16},
        {&options->kv_heads,      0, 1 << 16},
        {&options->vocab,         2, 1 << 16}, /* ids are uint16 */
        {&options->sequence,      1, 1 << 20},
        {&options->batch,         1, 1 << 16},
        {&options->accumulation,  1, 1 << 16},
        {&options->zero,          0, 3      },
        {&options->rounds,        1, 1000   },
        {&options->long_sequence, 1, 1 << 20}
    };
    optind = 1;
    for (int c; (c = getopt_long(args->argc, args->argv, ":", job_options, NULL)) != -1;) {
        if (c == 's') {
            options->shapes = true;
        } else if (c == 'f') {
            options->family = optarg;
        } else if (c == 'p') {
            options->precision = optarg;
        } else if (c == 'l') {
            options->parallel = optarg;
        } else if (c == 'o') {
            options->only = optarg;
        } else if (c == '?' || c == ':') {
            TRI_FAIL(TRI_EINVAL,
                     "bench %s: option '%.60s' is unknown or its value is missing; "
                     "docs/benchmarks.md lists them",
                     args->argv[0], args->argv[optind - 1]);
        } else {
            char name[32];
            snprintf(name, sizeof name, "--%s", job_options[c].name);
            TRI_TRY(tri_option_int(name, optarg, numbers[c].min, numbers[c].max, numbers[c].value));
        }
    }
    TRI_CHECK(optind == args->argc, TRI_EINVAL, "bench %s: '%.40s' is no option", args->argv[0],
              args->argv[optind]);
    return TRI_OK;
}

static tri_status write_tokens(int fd, int64_t vocab, int64_t n_tokens)
{
    int64_t blocks = (n_tokens + WORDS_OF_BLOCK - 1) / WORDS_OF_BLOCK;
    size_t bytes = (size_t)n_tokens * sizeof(uint16_t);
    uint16_t *tokens = NULL;
    TRI_TRY(TRI_NEW_ARRAY(blocks * WORDS_OF_BLOCK, &tokens));
    tri_rng rng = {.seed = 1, .purpose = TRI_RNG_SAMPLE};
    for (int64_t block = 0; block < blocks; block++) {
        uint32_t word[WORDS_OF_BLOCK];
        tri_rng_block(rng, (uint64_t)block, word);
        for (int i = 0; i < WORDS_OF_BLOCK; i++)
            tokens[block * WORDS_OF_BLOCK + i] = (uint16_t)(word[i] % (uint64_t)vocab);
    }
    ssize_t written = write(fd, tokens, bytes);
    TRI_FREE(tokens);
    TRI_TRY(TRI_SYS((int)(written < 0 ? -1 : 0), "writing %zu bytes of random tokens", bytes));
    TRI_CHECK((size_t)written == bytes, TRI_EIO, "writing random tokens: %zd of %zu bytes", written,
              bytes);
    return TRI_OK;
}

tri_status tri_bench_job_tokens(const tri_bench_job_options *options, int n_ranks, int *fd)
{
    int64_t sequences = TOKEN_BATCHES * options->batch * options->accumulation * n_ranks;
    int file = memfd_create("trireme-bench-tokens", MFD_CLOEXEC);
    TRI_TRY(TRI_SYS(file, "making a file in memory for random tokens"));
    tri_status written = write_tokens(file, options->vocab, sequences * options->sequence + 1);
    if (written != TRI_OK) close(file);
    TRI_TRY(written);
    *fd = file;
    return TRI_OK;
}

tri_status tri_bench_job_spec(const tri_bench_job_options *options, int n_ranks, int fd,
                              tri_spec *out)
{
    char text[SPEC_BYTES];
    char kv_heads[48] = "";
    int64_t sequences = options->batch * options->accumulation * n_ranks;
    char zero[16];
    snprintf(zero, sizeof zero, "zero: %lld", (long long)options->zero);
    if (options->kv_heads > 0)
        snprintf(kv_heads, sizeof kv_heads, ", kv_heads: %lld", (long long)options->kv_heads);
    int n = snprintf(text, sizeof text,
                     "name: bench\n"
                     "precision: %.15s\n"
                     "model: {family: %.15s, layers: %lld, hidden: %lld, heads: %lld, "
                     "context: %lld, vocab: %lld%s}\n"
                     "data: {train: /proc/self/fd/%d, format: uint16, holdout: 0}\n"
                     "batch: {sequences: %lld, micro: %lld}\n"
                     "parallel: {%.160s}\n"
                     "optimizer: {name: adamw, lr: 1.0e-4}\n"
                     "train: {steps: 1000000}\n",
                     options->precision, options->family, (long long)options->layers,
                     (long long)options->hidden, (long long)options->heads,
                     (long long)options->sequence, (long long)options->vocab, kv_heads, fd,
                     (long long)sequences, (long long)options->batch,
                     options->parallel ? options->parallel : zero);
    tri_spec spec;
    TRI_TRY(tri_spec_parse(text, (size_t)n, "bench options", &spec));
    TRI_TRY(tri_spec_check(&spec, n_ranks));
    *out = spec;
    return TRI_OK;
}
