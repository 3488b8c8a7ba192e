// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=120
/* The coordinate check tells mup from the standard parameterization: with mup what steps change in the
 * residual stream has slopes near 0 over widths, with standard they are near 1 and above; umup is
 * flat, too, and begins with activations of 1; its slopes and verdict by numbers; its refusals.
 */
#include "launch/coordinate.h"
#include "tests/test.h"

static const tri_device_args one_thread = {.name = "cpu", .n_threads = 1};

/* No such data: tokens are made up. */
static tri_status spec_of(const char *model, tri_spec *out)
{
    char text[512];
    snprintf(text, sizeof text,
             "name: x\nmodel: {%s, layers: 2, hidden: 64, heads: 2, context: 32, base_hidden: 64}\n"
             "data: {train: nowhere.txt}\nbatch: {sequences: 4, micro: 2}\n"
             "optimizer: {name: adamw, lr: 3.0e-3}\nschedule: {warmup: 100}\n"
             "train: {steps: 1000, threads: 1}\n",
             model);
    return tri_spec_parse(text, strlen(text), "t", out);
}

typedef struct measured {
    const char *model;
    double lr; /* 0: the spec's */
    tri_coordinate c;
} measured;

static tri_status measure(tri_comm *world, void *arg)
{
    measured *m = arg;
    tri_spec spec;
    TRI_TRY(spec_of(m->model, &spec));
    if (m->lr > 0) spec.optimizer.lr = m->lr;
    m->c = (tri_coordinate){
        .n_widths = 3, .width = {64, 128, 256},
             .steps = 4
    };
    return tri_coordinate_measure(&spec, world, &m->c);
}

static tri_status expect_told_apart(const char *family)
{
    static measured m;
    char model[96];
    snprintf(model, sizeof model, "family: %s, parameterization: mup", family);
    m.model = model;
    TRI_TRY(tri_comm_run_threads(1, &one_thread, measure, &m));
    EXPECT(m.c.is_generated && tri_coordinate_is_flat(&m.c), "%s is not flat", model);
    for (int p = TRI_COORDINATE_EMBEDDING; p <= TRI_COORDINATE_LAST; p++)
        EXPECT(fabs(tri_coordinate_slope(&m.c, (tri_coordinate_place)p)) < TRI_COORDINATE_FLAT,
               "%s: place %d has slope %.2f", model, p,
               tri_coordinate_slope(&m.c, (tri_coordinate_place)p));
    snprintf(model, sizeof model, "family: %s, parameterization: standard", family);
    TRI_TRY(tri_comm_run_threads(1, &one_thread, measure, &m));
    EXPECT(!tri_coordinate_is_flat(&m.c), "%s is flat", model);
    EXPECT(tri_coordinate_slope(&m.c, TRI_COORDINATE_LAST) > 0.7, "%s: slope %.2f", model,
           tri_coordinate_slope(&m.c, TRI_COORDINATE_LAST));
    return TRI_OK;
}

TRI_TEST(mup_is_flat_and_standard_is_not)
{
    TRI_TRY(expect_told_apart("gpt2"));
    return expect_told_apart("llama");
}

/* Deviations of 1 at every width: of normal numbers the mean size is sqrt(2 / pi). A block of L adds branches
 * with squares of 2 / L. */
TRI_TEST(umup_is_flat_and_begins_with_one)
{
    static measured m = {.model = "family: llama, parameterization: umup", .lr = 0.3};
    const double one = sqrt(2 / 3.14159265358979);
    TRI_TRY(tri_comm_run_threads(1, &one_thread, measure, &m));
    EXPECT(tri_coordinate_is_flat(&m.c), "%s is not flat", m.model);
    for (int w = 0; w < m.c.n_widths; w++) {
        double embedding = m.c.size[TRI_COORDINATE_EMBEDDING][w][0];
        double first = m.c.size[TRI_COORDINATE_FIRST][w][0];
        EXPECT(fabs(embedding / one - 1) < 0.05, "width %lld: embedding %g",
               (long long)m.c.width[w], embedding);
        EXPECT(fabs(first / (one * sqrt(2)) - 1) < 0.1, "width %lld: first block %g",
               (long long)m.c.width[w], first);
    }
    return TRI_OK;
}

static void fill(tri_coordinate *c, tri_coordinate_place place, double slope)
{
    for (int w = 0; w < c->n_widths; w++)
        c->change[place][w][c->steps] = 3 * pow((double)c->width[w], slope);
}

TRI_TEST(slopes_and_verdict)
{
    static tri_coordinate c = {
        .n_widths = 4, .width = {64, 100, 256, 512},
             .steps = 2
    };
    static const struct {
        tri_coordinate_place place;
        double slope;
        bool is_flat;
    } cases[] = {
        {TRI_COORDINATE_LAST,      0.29,  true },
        {TRI_COORDINATE_LAST,      0.31,  false},
        {TRI_COORDINATE_EMBEDDING, -0.31, false},
        {TRI_COORDINATE_LOGITS,    -0.5,  true },
        {TRI_COORDINATE_SCORES,    -0.9,  false},
        {TRI_COORDINATE_SCORES,    0.5,   false},
        {TRI_COORDINATE_FIRST,     NAN,   false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int p = 0; p < TRI_COORDINATE_PLACES; p++)
            fill(&c, (tri_coordinate_place)p, 0);
        fill(&c, cases[i].place, cases[i].slope);
        double slope = tri_coordinate_slope(&c, cases[i].place);
        EXPECT(fabs(slope - cases[i].slope) < 1e-12 || isnan(cases[i].slope), "%g, not %g", slope,
               cases[i].slope);
        EXPECT(tri_coordinate_is_flat(&c) == cases[i].is_flat, "case %zu: slope %g", i, slope);
    }
    return TRI_OK;
}

static tri_status refuse(tri_comm *world, void *arg)
{
    (void)arg;
    tri_spec spec;
    TRI_TRY(spec_of("family: gpt2", &spec));
    static tri_coordinate c;
    c = (tri_coordinate){.n_widths = 1, .width = {64}, .steps = 2};
    EXPECT_STATUS(tri_coordinate_measure(&spec, world, &c), TRI_EINVAL, "over 1 widths: 2 to 8");
    c = (tri_coordinate){
        .n_widths = 2, .width = {64, 64},
             .steps = 2
    };
    EXPECT_STATUS(tri_coordinate_measure(&spec, world, &c), TRI_EINVAL, "widths must rise");
    c = (tri_coordinate){
        .n_widths = 2, .width = {64, 128},
             .steps = 21
    };
    EXPECT_STATUS(tri_coordinate_measure(&spec, world, &c), TRI_EINVAL, "1 to 20 are legal");
    c = (tri_coordinate){
        .n_widths = 2, .width = {64, 67},
             .steps = 1
    };
    EXPECT_STATUS(tri_coordinate_measure(&spec, world, &c), TRI_EINVAL,
                  "model.heads 2 does not divide model.hidden 67");
    return TRI_OK;
}

TRI_TEST(refusals)
{
    return tri_comm_run_threads(1, &one_thread, refuse, NULL);
}

TRI_TEST_MAIN(TRI_TEST_ROW(mup_is_flat_and_standard_is_not),
              TRI_TEST_ROW(umup_is_flat_and_begins_with_one), TRI_TEST_ROW(slopes_and_verdict),
              TRI_TEST_ROW(refusals))
