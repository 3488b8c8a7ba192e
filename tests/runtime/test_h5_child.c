// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=120
/* The process that reads a file's description may have been forked while a library's lock was held, and
 * stand still: another one is asked.
 */
#include "runtime/h5.h"

#include "tests/temporary.h"
#include "tests/test.h"

#include <dlfcn.h>
#include <unistd.h>

static int n_forks;
static int n_still; /* of the next children, so many stand still */

/* In place of the C library's. */
pid_t fork(void)
{
    pid_t (*plain)(void) = NULL;
    *(void **)&plain = dlsym(RTLD_NEXT, "fork");
    n_forks++;
    pid_t pid = plain();
    if (pid == 0 && n_still > 0)
        for (;;)
            pause();
    n_still -= n_still > 0;
    return pid;
}

TRI_TEST(a_child_that_stands_still_is_replaced)
{
    char folder[64];
    char path[80];
    const int64_t shape[] = {3};
    const int32_t written[] = {7, 8, 9};
    int32_t got[3] = {0};
    TRI_TRY(tri_temporary_folder(NULL, sizeof folder, folder));
    snprintf(path, sizeof path, "%s/a.h5", folder);
    TRI_AUTO(tri_h5) *h5 = NULL;
    TRI_TRY(tri_h5_create(path, 0, &h5));
    TRI_TRY(tri_h5_write(h5, "numbers", TRI_I32, 1, shape, written));
    TRI_TRY(tri_h5_close(&h5));

    n_still = 1;
    TRI_TRY(tri_h5_open(path, &h5));
    EXPECT(n_forks == 2, "%d children in place of 2", n_forks);
    TRI_AUTO(tri_h5_dataset) *dataset = NULL;
    TRI_TRY(tri_h5_dataset_open(h5, "numbers", &dataset));
    TRI_TRY(tri_h5_dataset_read(dataset, 0, 3, TRI_I32, got));
    EXPECT(memcmp(got, written, sizeof got) == 0, "%d %d %d", got[0], got[1], got[2]);
    tri_h5_dataset_destroy(&dataset);
    tri_h5_destroy(&h5);
    EXPECT(unlink(path) == 0 && rmdir(folder) == 0, "removing %s", folder);
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(a_child_that_stands_still_is_replaced))
