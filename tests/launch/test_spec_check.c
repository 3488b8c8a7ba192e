// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=30
/* What keys say together: mesh, batch, vocabulary, model, optimizer, schedule. */
#include "launch/spec.h"
#include "tests/test.h"

static const char good[] = "name: x\n"
                           "model: {family: gpt2, layers: 2, hidden: 64, heads: 4, context: 32}\n"
                           "data: {train: text.txt}\n"
                           "batch: {sequences: 24, micro: 2}\n"
                           "optimizer: {lr: 1.0e-3}\n"
                           "train: {steps: 10}\n";

static void make(tri_spec *out)
{
    tri_status rc = tri_spec_parse(good, strlen(good), "t", out);
    EXPECT(rc == TRI_OK, "%s", tri_err_last()->text);
}

TRI_TEST(auto_is_resolved)
{
    tri_spec spec;
    make(&spec);
    TRI_TRY(tri_spec_check(&spec, 4));
    EXPECT(spec.parallel.data == 4, "data %d", spec.parallel.data);
    EXPECT(spec.model.vocab == 256 && spec.model.ffn == 256 && spec.model.tied == 1, "vocab %lld",
           (long long)spec.model.vocab);
    /* a resolved spec stays as it is, also through its dump */
    tri_spec again = spec;
    TRI_TRY(tri_spec_check(&again, 4));
    EXPECT(memcmp(&again, &spec, sizeof spec) == 0, "checking twice changes the spec");
    char *text = NULL;
    TRI_TRY(tri_spec_dump(&spec, &text));
    tri_status rc = tri_spec_parse(text, strlen(text), "dump", &again);
    TRI_FREE(text);
    TRI_TRY(rc);
    TRI_TRY(tri_spec_check(&again, 4));
    EXPECT(again.model.ffn == spec.model.ffn && again.model.vocab == 256, "ffn %lld",
           (long long)again.model.ffn);
    return TRI_OK;
}

/* Every batch that is accepted divides, every one that is not comes with two that are. */
TRI_TEST(batch_divides)
{
    for (int ranks = 1; ranks <= 4; ranks++) {
        for (int sequences = 1; sequences <= 32; sequences++) {
            tri_spec spec;
            make(&spec);
            spec.batch.sequences = sequences;
            tri_status rc = tri_spec_check(&spec, ranks);
            int unit = 2 * ranks;
            EXPECT((rc == TRI_OK) == (sequences % unit == 0), "%d of %d", sequences, unit);
            if (rc == TRI_OK) continue;
            char part[64];
            if (sequences < unit)
                snprintf(part, sizeof part, "the least is %d", unit);
            else
                snprintf(part, sizeof part, "the nearest are %d and %d", sequences / unit * unit,
                         (sequences / unit + 1) * unit);
            EXPECT(strstr(tri_err_last()->text, part), "%s", tri_err_last()->text);
            tri_err_clear();
        }
    }
    return TRI_OK;
}

TRI_TEST(contradictions)
{
    tri_spec spec;
    make(&spec);
    spec.parallel.data = 3;
    EXPECT_STATUS(tri_spec_check(&spec, 4), TRI_EINVAL, "set parallel.data to 4 or auto");
    make(&spec);
    EXPECT_STATUS(tri_spec_check(&spec, 0), TRI_EINVAL, "at least 1");
    EXPECT_STATUS(tri_spec_check(&spec, 5), TRI_EINVAL, "batch.sequences");
    make(&spec);
    spec.model.heads = 5;
    EXPECT_STATUS(tri_spec_check(&spec, 1), TRI_EINVAL, "heads");
    make(&spec);
    snprintf(spec.data.format, sizeof spec.data.format, "uint16");
    EXPECT_STATUS(tri_spec_check(&spec, 1), TRI_EINVAL, "model.vocab must be given");
    spec.model.vocab = 50257;
    TRI_TRY(tri_spec_check(&spec, 1));
    snprintf(spec.data.format, sizeof spec.data.format, "hdf5");
    EXPECT_STATUS(tri_spec_check(&spec, 1), TRI_EINVAL, "data.dataset must be given");
    make(&spec);
    spec.model.vocab = 100;
    EXPECT_STATUS(tri_spec_check(&spec, 1), TRI_EINVAL, "less than 256");
    make(&spec);
    spec.data.holdout = 0;
    spec.train.eval_every = 5;
    EXPECT_STATUS(tri_spec_check(&spec, 1), TRI_EINVAL, "nothing to evaluate on");
    make(&spec);
    spec.schedule.warmup = 11;
    EXPECT_STATUS(tri_spec_check(&spec, 1), TRI_EINVAL, "warmup");
    make(&spec);
    spec.schedule.warmup_share = 0.5;
    spec.schedule.scale_from = 1;
    EXPECT_STATUS(tri_spec_check(&spec, 1), TRI_EINVAL, "for batch.sequences");
    make(&spec);
    snprintf(spec.model.parameterization, sizeof spec.model.parameterization, "mup");
    EXPECT_STATUS(tri_spec_check(&spec, 1), TRI_EINVAL, "model.base_hidden must be given");
    spec.model.base_hidden = 32;
    TRI_TRY(tri_spec_check(&spec, 1));
    snprintf(spec.optimizer.name, sizeof spec.optimizer.name, "lamb");
    EXPECT_STATUS(tri_spec_check(&spec, 1), TRI_EINVAL,
                  "model.parameterization mup: optimizer.name lamb");
    return TRI_OK;
}

TRI_TEST(stability_makes_sense)
{
    tri_spec spec;
    make(&spec);
    spec.stability.spike = 1;
    EXPECT_STATUS(tri_spec_check(&spec, 1), TRI_EINVAL, "stability.spike: 1 is not above 1");
    make(&spec);
    spec.stability.policy = TRI_STABILITY_ROLLBACK;
    EXPECT_STATUS(tri_spec_check(&spec, 1), TRI_EINVAL, "set checkpoint.every");
    spec.checkpoint.every_seconds = 60;
    return tri_spec_check(&spec, 1);
}

/* A layout, and the number of ranks, as overrides of `good` would give them. */
typedef struct layout_case {
    const char *keys; /* below parallel: */
    const char *model, *batch;
    int ranks;
    const char *part; /* of the message; NULL: legal */
} layout_case;

static tri_status check_case(const layout_case *c, tri_spec *spec)
{
    char text[1024];
    snprintf(text, sizeof text,
             "name: x\nmodel: {%s}\ndata: {train: t.txt}\nbatch: {%s}\n"
             "optimizer: {lr: 1.0e-3}\ntrain: {steps: 10}\nparallel: {%s}\n",
             c->model ? c->model
                      : "family: llama, layers: 6, hidden: 96, heads: 12, kv_heads: 4, ffn: 240, "
                        "context: 32",
             c->batch ? c->batch : "sequences: 24, micro: 2", c->keys);
    TRI_TRY(tri_spec_parse(text, strlen(text), "t", spec));
    TRI_TRY(tri_spec_check(spec, c->ranks));
    return TRI_OK;
}

/* Each rule of layouts: what it says, and that the values it names are legal. */
TRI_TEST(layouts_are_refused_with_what_is_legal)
{
    static const char tall[] = "family: llama, layers: 6, hidden: 96, heads: 12, kv_heads: 12, "
                               "ffn: 250, context: 32";
    static const char words[] = "family: gpt2, layers: 6, hidden: 64, heads: 64, ffn: 640, "
                                "context: 64, vocab: 260";
    static const layout_case cases[] = {
        {"tensor: 3, pipeline: 2",                        NULL,                                                                    NULL,                     8,
         "tensor 3 x pipeline 2 x context 1 = 6 ranks of one model do not divide the job's 8 "
         "ranks: start 6 or 12 ranks"                                                                                                                                                                                 },
        {"tensor: 4",                                     NULL,                                                                    NULL,                     2,  "start 4 ranks"                                      },
        {"data: 3, tensor: 2",                            NULL,                                                                    NULL,                     4,
         "parallel.data: 3 x tensor 2 x pipeline 1 x context 1 = 6 ranks, but the job has 4: set "
         "parallel.data to 2"                                                                                                                                                                                         },
        {"tensor: 5",                                     NULL,                                                                    NULL,                     5,
         "parallel.tensor: 5 ranks cannot share model.heads 12 evenly; the nearest is 4"                                                                                                                              },
        {"tensor: 6",                                     NULL,                                                                    NULL,                     6,
         "cannot share model.kv_heads 4: one must divide the other; the nearest is 4"                                                                                                                                 },
        {"tensor: 3, tensor_sequence: false",             tall,                                                                    NULL,                     3,
         "cannot share model.ffn 250 evenly; the nearest is 2"                                                                                                                                                        },
        {"tensor: 64",                                    words,                                                                   NULL,                     64, "blocks of 5 leave no part of model.vocab 260"       },
        {"tensor: 2",                                     "family: llama, layers: 2, hidden: 64, heads: 4, ffn: 128, context: 31",
         "sequences: 3, micro: 3",                                                                                                                           2,  "cannot share the 93 tokens of a micro-batch"        },
        {"pipeline: 8",                                   NULL,                                                                    NULL,                     8,
         "parallel.pipeline: 8 ranks x parallel.chunks 1 = 8 stages, but model.layers is 6; the "
         "nearest is 6"                                                                                                                                                                                               },
        {"pipeline: 2, chunks: 7, schedule: interleaved", NULL,                                                                    NULL,                     2,
         "model.layers 6 cannot be cut into 7 pieces; the most is 6"                                                                                                                                                  },
        {"pipeline: 2, chunks: 2",                        NULL,                                                                    NULL,                     2,  "parallel.chunks"                                    },
        {"pipeline: 2, chunks: 3, schedule: zb_v",        NULL,                                                                    NULL,                     2,  "set it to 2"                                        },
        {"pipeline: 3, chunks: 2, schedule: interleaved", NULL,                                                                    "sequences: 8, micro: 2", 3,
         "batch.sequences"                                                                                                                                                                                            },
        {"context: 5",                                    NULL,                                                                    NULL,                     5,  "model.context 32"                                   },
        {"context: 4, ulysses: 3",                        NULL,                                                                    NULL,                     4,  "parallel.ulysses 3"                                 },
        {"context: 8, context_mode: ulysses",             NULL,                                                                    NULL,                     8,  "parallel.context 8"                                 },
        {"context: 4, context_mode: ulysses, ulysses: 2", NULL,                                                                    NULL,                     4,  "parallel.ulysses 2"                                 },
        {"zero: [1, 1, 3]",                               NULL,                                                                    NULL,                     4,  "parallel.zero [1, 1, 3] over 4 data x context ranks"},
        {"zero: [1, 3, 4]",                               NULL,                                                                    NULL,                     4,  "[1, 3, 4] over 4"                                   },
        {"zero: [4, 2, 4]",                               NULL,                                                                    NULL,                     4,  "[4, 2, 4] over 4"                                   },
        {"zero: [1, 1, 8]",                               NULL,                                                                    NULL,                     4,  "[1, 1, 4] would do"                                 },
        {"quantize_weights: int8, zero: 0",               NULL,                                                                    NULL,                     2,  "parallel.zero to 1, 2 or 3"                         },
        {"quantize_weights: int8",                        NULL,                                                                    NULL,                     1,  "parallel.zero to 1, 2 or 3"                         },
        {"quantize_gradients: int8",                      NULL,                                                                    NULL,                     2,  "parallel.zero to 2 or 3"                            },
        {"recompute_layers: 2",                           NULL,                                                                    NULL,                     1,  "recompute is none"                                  },
    };
    tri_spec spec;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        EXPECT_STATUS(check_case(&cases[i], &spec), TRI_EINVAL, cases[i].part);
    return TRI_OK;
}

TRI_TEST(groups_of_stages)
{
    static const int want[4][3] = {
        {1, 1, 1},
        {1, 1, 4},
        {1, 4, 4},
        {4, 4, 4}
    };
    for (int stage = 0; stage < 4; stage++) {
        tri_spec spec;
        make(&spec);
        spec.parallel.zero_stage = stage;
        TRI_TRY(tri_spec_check(&spec, 4));
        EXPECT(memcmp(spec.parallel.zero, want[stage], sizeof want[stage]) == 0, "stage %d", stage);
    }
    tri_spec spec;
    tri_spec again;
    const layout_case c = {"tensor: 1, zero: [1, 1, 2]", NULL, NULL, 4, NULL};
    tri_status rc = check_case(&c, &spec);
    if (rc != TRI_OK) tri_err_clear();
    tri_spec_reset_layout(&spec);
    TRI_TRY(tri_spec_check(&spec, 1));
    make(&again);
    TRI_TRY(tri_spec_check(&again, 1));
    EXPECT(spec.parallel.prefetch == 0 && again.parallel.prefetch == 1, "not reset");
    spec.parallel.prefetch = again.parallel.prefetch;
    spec.parallel.tensor_sequence = again.parallel.tensor_sequence;
    EXPECT(memcmp(&spec.parallel, &again.parallel, sizeof spec.parallel) == 0, "another layout");
    return TRI_OK;
}

/* Batches that vary: what one replica, the groups of a test and the quanta must have in common. */
static const struct {
    int ranks;
    const char *words[4];
    const char *part; /* NULL: legal */
} growing[] = {
    {3, {"batch.adaptive.test=norm", "batch.adaptive.max=96"},                             NULL                                                   },
    {1, {"batch.adaptive.test=norm", "batch.adaptive.max=96", "batch.adaptive.quantum=8"}, NULL                                                   },
    {2, {"batch.ramp.to=96", "batch.ramp.samples=1000", "batch.adaptive.quantum=4"},       NULL                                                   },
    {1, {"batch.adaptive.test=norm"},                                                      "batch.adaptive.max is 0; it must be > batch.sequences"},
    {1,
     {"batch.adaptive.test=norm", "batch.adaptive.max=100"},
     "batch.adaptive.max is 100; it must be a multiple of batch.adaptive.quantum (24)"                                                            },
    {1,
     {"batch.adaptive.test=norm", "batch.adaptive.max=96", "batch.adaptive.groups=5"},
     "batch.adaptive.groups (5) must divide it: 20 or 25"                                                                                         },
    {2,
     {"batch.adaptive.test=norm", "batch.adaptive.max=96", "batch.adaptive.groups=4"},
     "batch.sequences: 24 is no multiple of 4 groups (batch.adaptive.groups; 1 without a test) "
     "x parallel.data 2 x batch.micro 2 = 16, the least by which a batch can grow: the nearest "
     "are 16 and 32"                                                                                                                              },
    {1,
     {"batch.adaptive.test=norm", "batch.adaptive.max=96", "batch.adaptive.quantum=4"},
     "batch.adaptive.quantum: 4 in 4 groups (batch.adaptive.groups; 1 without a test) is 1 "
     "sequences a group, no multiple of parallel.data 1 x batch.micro 2; of those that divide "
     "batch.sequences 24 and the largest batch 96, the nearest is 8"                                                                              },
    {1,
     {"batch.adaptive.test=norm", "batch.adaptive.max=96", "batch.adaptive.quantum=12"},
     "the nearest are 8 and 24"                                                                                                                   },
    {3,
     {"batch.adaptive.test=norm", "batch.adaptive.max=108", "batch.adaptive.quantum=12"},
     "batch.adaptive.max: 108 is no multiple of 4 groups"                                                                                         },
    {4,
     {"batch.ramp.to=48", "batch.ramp.samples=100", "batch.adaptive.quantum=4"},
     "of those that divide batch.sequences 24 and the largest batch 48, the nearest is 8"                                                         },
    {1,
     {"batch.ramp.to=48", "batch.ramp.samples=100", "batch.adaptive.test=norm",
      "batch.adaptive.max=48"},
     "make no sense together"                                                                                                                     },
    {1, {"batch.ramp.samples=100"},                                                        "without batch.ramp.to"                                },
    {1,
     {"batch.adaptive.test=coordinate", "batch.adaptive.max=48"},
     "makes no sense with optimizer.name: adamw"                                                                                                  },
};

TRI_TEST(growing_batches_divide)
{
    for (size_t i = 0; i < sizeof growing / sizeof growing[0]; i++) {
        tri_spec spec;
        int n = 0;
        make(&spec);
        while (n < 4 && growing[i].words[n])
            n++;
        TRI_TRY(tri_spec_override(&spec, n, growing[i].words));
        tri_status rc = tri_spec_check(&spec, growing[i].ranks);
        if (growing[i].part) {
            EXPECT_STATUS(rc, TRI_EINVAL, growing[i].part);
            continue;
        }
        EXPECT(rc == TRI_OK, "case %zu: %s", i, tri_err_last()->text);
        tri_err_clear();
        tri_batch_config batch = tri_spec_batch(&spec);
        int64_t at_once = spec.parallel.data * spec.batch.micro;
        EXPECT(spec.batch.round % at_once == 0 &&
                   spec.batch.round * tri_batch_groups(&batch) == batch.adaptive.quantum,
               "case %zu: rounds of %lld", i, (long long)spec.batch.round);
    }
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(growing_batches_divide), TRI_TEST_ROW(auto_is_resolved),
              TRI_TEST_ROW(batch_divides), TRI_TEST_ROW(contradictions),
              TRI_TEST_ROW(stability_makes_sense),
              TRI_TEST_ROW(layouts_are_refused_with_what_is_legal), TRI_TEST_ROW(groups_of_stages))
