// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=30
/* What `check --schedule` prints. */
#include "launch/check_schedule.h"
#include "tests/test.h"

static tri_status print(const char *schedule, int pipeline, int chunks, int64_t sequences,
                        char **text)
{
    tri_spec spec = {
        .batch = {.sequences = sequences, .micro = 2}
    };
    size_t n = 0;
    spec.parallel.data = 3;
    spec.parallel.pipeline = pipeline;
    spec.parallel.chunks = chunks;
    snprintf(spec.parallel.schedule, sizeof spec.parallel.schedule, "%s", schedule);
    FILE *stream = open_memstream(text, &n);
    tri_status rc = tri_check_schedule(&spec, stream);
    fclose(stream);
    TRI_TRY(rc);
    return TRI_OK;
}

TRI_TEST(tables_are_drawn)
{
    static const struct {
        const char *name;
        int pipeline, chunks;
        const char *wanted;
    } cases[] = {
        {"1f1b", 2, 1,
         "schedule 1f1b: pipeline 2 x chunks 1, 2 micro-batches; F forward, B backward, . idle\n"
         "rank 0   F0 F1 .  .  B0--- .  B1---\n"
         "rank 1   .  F0 B0--- F1 B1---\n"
         "idle     33.3 % of a rank's time, where F, and each half of B, take a column each and "
         "messages none\n"
         "alive    at most 2 1 micro-batches on pipeline rank 0, 1 ...\n" },
        {"zb_v", 1, 2,
         "schedule zb_v: pipeline 1 x chunks 2, 2 micro-batches; F forward, B backward of inputs, "
         "W "
         "of weights, . idle\n"
         "rank 0   F0a F0b B0b W0b F1a B0a W0a F1b B1b W1b B1a W1a\n"
         "idle     0.0 % of a rank's time, where F, B and W take a column each and messages none\n"
         "alive    at most 2 chunks of micro-batches on pipeline rank 0\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = NULL;
        tri_status rc = print(cases[i].name, cases[i].pipeline, cases[i].chunks, 12, &text);
        EXPECT(rc != TRI_OK || strcmp(text, cases[i].wanted) == 0, "%s", text);
        free(text);
        TRI_TRY(rc);
    }
    return TRI_OK;
}

TRI_TEST(sizes_are_refused)
{
    char *text = NULL;
    EXPECT_STATUS(print("interleaved", 4, 2, 36, &text), TRI_EINVAL, "the nearest are 4 and 8");
    EXPECT(text && text[0] == '\0', "printed: %s", text);
    free(text);
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(tables_are_drawn), TRI_TEST_ROW(sizes_are_refused))
