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
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(auto_is_resolved), TRI_TEST_ROW(batch_divides),
              TRI_TEST_ROW(contradictions))
