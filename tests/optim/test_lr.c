// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=30
/* Learning-rate schedules: values at the joints computed by hand, shape in between. */
#include "optim/lr.h"

#include "tests/test.h"

static tri_lr_config config(const char *decay, int64_t warmup, double final, double cooldown)
{
    tri_lr_config c = {.warmup = warmup, .final = final, .cooldown = cooldown};
    snprintf(c.decay, sizeof c.decay, "%s", decay);
    return c;
}

static void expect_at(const tri_lr_config *c, int64_t step, double want)
{
    double got = tri_lr_factor(c, step, 100);
    EXPECT(fabs(got - want) < 1e-12, "%s at step %lld: %.15g, not %.15g", c->decay, (long long)step,
           got, want);
}

TRI_TEST(joints)
{
    tri_lr_config cosine = config("cosine", 10, 0.1, 0);
    expect_at(&cosine, 1, 0.1);
    expect_at(&cosine, 10, 1);
    expect_at(&cosine, 55, 0.55);
    expect_at(&cosine, 100, 0.1);
    tri_lr_config linear = config("linear", 0, 0, 0);
    expect_at(&linear, 25, 0.75);
    expect_at(&linear, 100, 0);
    tri_lr_config constant = config("constant", 4, 0.5, 0);
    expect_at(&constant, 2, 0.5);
    expect_at(&constant, 100, 1);
    tri_lr_config wsd = config("wsd", 10, 0.2, 0.25);
    expect_at(&wsd, 75, 1);
    expect_at(&wsd, 80, 1 - 0.8 * 0.2);
    expect_at(&wsd, 100, 0.2);
    return TRI_OK;
}

TRI_TEST(never_rises_after_warmup)
{
    const char *names[] = {"cosine", "linear", "constant", "wsd"};
    for (int i = 0; i < 4; i++) {
        tri_lr_config c = config(names[i], 7, 0.1, 0.3);
        for (int64_t step = 8; step <= 100; step++)
            EXPECT(tri_lr_factor(&c, step, 100) <= tri_lr_factor(&c, step - 1, 100) + 1e-15,
                   "%s rises at %lld", names[i], (long long)step);
    }
    return TRI_OK;
}

TRI_TEST(refusals)
{
    tri_lr_config c = config("cosin", 0, 0, 0);
    EXPECT_STATUS(tri_lr_check(&c, 10), TRI_EINVAL, "schedule.decay 'cosin'");
    c = config("cosine", 11, 0, 0);
    EXPECT_STATUS(tri_lr_check(&c, 10), TRI_EINVAL, "schedule.warmup is 11");
    c = config("cosine", 1, 2, 0);
    EXPECT_STATUS(tri_lr_check(&c, 10), TRI_EINVAL, "schedule.final is 2");
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(joints), TRI_TEST_ROW(never_rises_after_warmup), TRI_TEST_ROW(refusals))
