// SPDX-License-Identifier: Apache-2.0
/* What every test program is made of: checks that print both values, statuses that must be what was
 * said, and a count of live objects at the end. A test program runs all its tests on all its ranks:
 *
 *   // TEST ranks=1,2 timeout=60 args=--long
 *   TRI_TEST(box_cut_covers) { ... EXPECT(n == 3, "n is %d", n); return TRI_OK; }
 *   TRI_TEST_MAIN(TRI_TEST_ROW(box_cut_covers))
 */
#ifndef TRI_TESTS_TEST_H
#define TRI_TESTS_TEST_H

#include "runtime/base/alloc.h"
#include "runtime/base/status.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
/* MPI unloads its modules at the end; the leak checker could not name what they have kept. */
int dlclose(void *handle);
int dlclose(void *handle)
{
    (void)handle;
    return 0;
}
#endif

typedef struct tri_test {
    const char *name;
    tri_status (*run)(void);
} tri_test;

static int tri_test_failures;
static __attribute__((unused)) int tri_test_argc;
static __attribute__((unused)) char **tri_test_argv;

#define TRI_TEST(name) static tri_status test_##name(void)
#define TRI_TEST_ROW(name) \
    (tri_test)             \
    {                      \
#name, test_##name \
    }

/* Count a failure, say where and what, and go on. */
#define EXPECT(cond, ...)                                                       \
    do {                                                                        \
        if (!(cond)) {                                                          \
            __atomic_fetch_add(&tri_test_failures, 1, __ATOMIC_RELAXED);        \
            fprintf(stderr, "%s:%d: expected %s: ", __FILE__, __LINE__, #cond); \
            fprintf(stderr, __VA_ARGS__);                                       \
            fputc('\n', stderr);                                                \
        }                                                                       \
    } while (0)

/* The call must fail with this code and a message that contains `part`. */
#define EXPECT_STATUS(call, wanted, part)                                           \
    do {                                                                            \
        tri_status got_ = (call);                                                   \
        EXPECT(got_ == (wanted), "%s gave %s (%s)", #call, tri_status_name(got_),   \
               tri_err_last()->text);                                               \
        EXPECT((wanted) == TRI_OK || strstr(tri_err_last()->text, (part)),          \
               "message '%s' does not contain '%s'", tri_err_last()->text, (part)); \
        tri_err_clear();                                                            \
    } while (0)

static inline int tri_test_main(int argc, char **argv, const tri_test *tests, int n_tests)
{
    tri_test_argc = argc;
    tri_test_argv = argv;
    for (int i = 0; i < n_tests; i++) {
        int before = tri_test_failures;
        tri_status rc = tests[i].run();
        if (rc != TRI_OK) {
            const tri_err *err = tri_err_last();
            tri_test_failures++;
            fprintf(stderr, "%s: %s %s\n", tests[i].name, tri_status_name(rc), err->text);
            for (int f = 0; f < err->n_frames; f++)
                fprintf(stderr, "  at %s (%s:%d)\n", err->frames[f].function, err->frames[f].file,
                        err->frames[f].line);
            tri_err_clear();
        }
        printf("%s %s\n", before == tri_test_failures ? "ok  " : "FAIL", tests[i].name);
        fflush(stdout);
    }
    EXPECT(tri_alloc_live() == 0, "%lld objects are still alive", (long long)tri_alloc_live());
    return tri_test_failures ? 1 : 0;
}

/* main() of a test program: its tests in order. */
#define TRI_TEST_MAIN(...)                                                              \
    int main(int argc, char **argv)                                                     \
    {                                                                                   \
        const tri_test tests[] = {__VA_ARGS__};                                         \
        return tri_test_main(argc, argv, tests, (int)(sizeof tests / sizeof tests[0])); \
    }

/* Norm of the difference over norm of the reference: how tensors are compared. */
static inline double tri_test_relative(int64_t n, const float *got, const float *want)
{
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < n; i++) {
        difference += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        norm += (double)want[i] * want[i];
    }
    return norm > 0 ? sqrt(difference / norm) : sqrt(difference);
}

#endif
