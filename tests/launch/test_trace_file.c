// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=30
/* trace.json of ranks that are threads: what is in it, what is lost, and a path that cannot be written.
 * Real runs are tests/equiv/trace.py. */
#include "launch/trace_file.h"
#include "runtime/base/log.h"
#include "tests/folder.h"
#include "tests/test.h"

#include <unistd.h>

enum { RANKS = 3, ROOM = 4 };

static const tri_device_args one_thread = {.name = "cpu", .n_threads = 1, .yield = true};

static tri_status body(tri_comm *world, void *path)
{
    tri_device *device = tri_comm_device(world);
    tri_activity *activity = tri_device_activity(device);
    tri_mesh_args shape = {
        .world = world, .size = {RANKS, 1, 1, 1}
    };
    tri_mesh *mesh = NULL;
    TRI_TRY(tri_mesh_create(&shape, &mesh));
    size_t before = tri_device_memory(device).bytes[TRI_MEM_WORKSPACE];
    tri_trace_file_args args = {.mesh = mesh, .steps = 2, .max_events = ROOM, .path = path};
    tri_trace_file *file = NULL;
    TRI_TRY(tri_trace_file_open(&args, &file));
    if (tri_comm_rank(world) == 0)
        EXPECT(tri_device_memory(device).bytes[TRI_MEM_WORKSPACE] - before ==
                   tri_trace_file_bytes(RANKS, 2, ROOM),
               "counted memory is not what was said");
    for (int step = 1; step <= 4; step++) {
        tri_activity_step(activity, step);
        tri_activity_begin(activity, "step %d \"of\" %d", step, tri_comm_rank(world));
        tri_activity_end(activity);
        for (int i = 0; step == 3 && tri_comm_rank(world) == 2 && i < 5; i++) {
            tri_activity_begin(activity, "more");
            tri_activity_end(activity);
        }
        TRI_TRY(tri_trace_file_step(file));
    }
    TRI_TRY(tri_trace_file_finish(file));
    tri_trace_file_destroy(&file);
    EXPECT(tri_device_memory(device).bytes[TRI_MEM_WORKSPACE] == before, "memory is left");
    tri_mesh_close(&mesh);
    return TRI_OK;
}

static int count(const char *text, const char *part)
{
    int n = 0;
    for (const char *at = text; (at = strstr(at, part)); at++)
        n++;
    return n;
}

TRI_TEST(events_of_all_ranks)
{
    TRI_AUTO(tri_folder) *folder = NULL;
    TRI_TRY(tri_folder_create(&folder));
    TRI_TRY(tri_folder_put(folder, "trace.json", "w", "", 0));
    char path[1024];
    snprintf(path, sizeof path, "%s", folder->file);
    tri_log_set(&(tri_log_sink){.terminal = NULL, .terminal_level = -1, .file_level = -1});
    TRI_TRY(tri_comm_run_threads(RANKS, &one_thread, body, path));
    tri_log_set(NULL);
    static char text[1 << 16];
    FILE *stream = fopen(path, "r");
    TRI_TRY(TRI_SYS(stream ? 0 : -1, "opening %s", path));
    text[fread(text, 1, sizeof text - 1, stream)] = '\0';
    fclose(stream);
    for (int rank = 0; rank < RANKS; rank++) {
        char part[64];
        snprintf(part, sizeof part, "{\"name\":\"rank %d: pipeline %d\"}", rank, rank);
        EXPECT(count(text, part) == 1, "no '%s' in\n%s", part, text);
        for (int step = 1; step <= 4; step++) {
            snprintf(part, sizeof part, "\"name\":\"step %d \\\"of\\\" %d\"", step, rank);
            EXPECT(count(text, part) == (step == 2 || step == 3), "'%s' in\n%s", part, text);
        }
    }
    EXPECT(count(text, "\"name\":\"more\"") == 2, "%s", text); /* room for four, two are taken */
    EXPECT(strstr(text, "\"lost_events\":3}"), "%s", text);
    return TRI_OK;
}

TRI_TEST(a_path_that_cannot_be_written)
{
    char path[] = "/nonexistent/trace.json";
    tri_log_set(&(tri_log_sink){.terminal = NULL, .terminal_level = -1, .file_level = -1});
    TRI_TRY(tri_comm_run_threads(RANKS, &one_thread, body, path));
    tri_log_set(NULL);
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(events_of_all_ranks), TRI_TEST_ROW(a_path_that_cannot_be_written))
