// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1,2 timeout=60
/* A session: device and world, the spec read by one rank for all, the log of each rank. */
#include "launch/session.h"
#include "runtime/agree.h"
#include "tests/folder.h"
#include "tests/test.h"

static const char job[] = "name: x\n"
                          "model: {family: gpt2, layers: 1, hidden: 32, heads: 2, context: 16}\n"
                          "data: {train: text.txt}\n"
                          "batch: {sequences: 4, micro: 2}\n"
                          "optimizer: {lr: 1.0e-3}\n"
                          "train: {steps: 2, threads: 2}\n";

static tri_session session = {.step = -1};

/* A folder that all ranks see: rank 0 makes it, the others get its path. */
static tri_status shared_folder(tri_comm *world, tri_folder **folder, char path[512])
{
    if (tri_comm_rank(world) == 0) {
        TRI_TRY(tri_folder_create(folder));
        snprintf(path, 512, "%s", (*folder)->path);
    }
    TRI_TRY(tri_broadcast(world, tri_span_make(path, 512, TRI_U8), 0, NULL));
    return TRI_OK;
}

TRI_TEST(all_ranks_get_the_spec_of_rank_0)
{
    setenv("TRIREME_COLL", "pigeon", 1);
    EXPECT_STATUS(tri_env_read(&session.env), TRI_EINVAL, "TRIREME_COLL is 'pigeon'");
    setenv("TRIREME_COLL", "mpi", 1);
    TRI_TRY(tri_env_read(&session.env));
    unsetenv("TRIREME_COLL");
    TRI_TRY(tri_session_open(&session, 1));
    tri_comm *world = session.world;
    EXPECT(tri_comm_size(world) == 1 || strcmp(tri_comm_backend(world), "mpi") == 0, "backend %s",
           tri_comm_backend(world));
    int rank = tri_comm_rank(world);
    char path[512] = "";
    char file[600];
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(shared_folder(world, &folder, path));
    if (rank == 0) TRI_TRY(tri_folder_put(folder, "job.yaml", "w", job, strlen(job)));
    snprintf(file, sizeof file, "%s/job.yaml", path);

    tri_spec spec;
    const char *override = "train.steps=9";
    TRI_TRY(tri_spec_load(file, 1, &override, world, &spec));
    EXPECT(spec.train.steps == 9 && spec.parallel.data == tri_comm_size(world), "rank %d", rank);
    TRI_TRY(tri_agree_same(world, (int64_t)spec.model.ffn, "model.ffn"));

    override = "model.heads=3";
    EXPECT_STATUS(tri_spec_load(file, 1, &override, world, &spec),
                  rank == 0 ? TRI_EINVAL : TRI_EPEER, "heads");

    tri_session_log_to(&session, path);
    tri_log_set(&session.log);
    tri_log(TRI_LOG_INFO, "rank %d is here", rank);
    tri_log_set(NULL);
    TRI_TRY(tri_barrier(world));
    snprintf(file, sizeof file, "%s/rank-%d.log", path, rank);
    EXPECT(access(file, R_OK) == 0, "no %s", file);
    TRI_TRY(tri_barrier(world));
    return TRI_OK;
}

/* The last test: it closes the world. */
TRI_TEST(close_leaves_nothing)
{
    tri_session_close(&session);
    EXPECT(!session.world && !session.device && !session.log_file, "something is open");
    return TRI_OK;
}

TRI_TEST(cores)
{
    char list[256] = "";
    int cores = tri_env_cores();
    EXPECT(cores >= 1 && cores <= tri_env_host_cores(), "%d cores", cores);
    EXPECT(tri_env_threads(1) == cores, "%d threads for the only rank", tri_env_threads(1));
    EXPECT(tri_env_threads(1 << 20) == 1, "%d threads", tri_env_threads(1 << 20));
    tri_env_core_list(list, sizeof list);
    EXPECT(list[0] >= '0' && list[0] <= '9', "'%s'", list);
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(cores), TRI_TEST_ROW(all_ranks_get_the_spec_of_rank_0),
              TRI_TEST_ROW(close_leaves_nothing))
