// SPDX-License-Identifier: Apache-2.0
// TEST ranks=1 timeout=30
/* Which lines go where, and how they begin. */
#include "runtime/base/log.h"
#include "tests/test.h"

TRI_TEST(levels_and_prefixes)
{
    char terminal[1024] = "";
    char file[1024] = "";
    tri_log_sink sink = {.terminal = fmemopen(terminal, sizeof terminal, "w"),
                         .file = fmemopen(file, sizeof file, "w"),
                         .terminal_level = TRI_LOG_INFO,
                         .file_level = TRI_LOG_DEBUG,
                         .rank = 0};
    tri_log_set(&sink);
    tri_log(TRI_LOG_INFO, "two ranks");
    tri_log(TRI_LOG_WARN, "slow %s", "disk");
    tri_log(TRI_LOG_DEBUG, "bucket 3");
    tri_log(TRI_LOG_TRACE, "event");
    EXPECT(tri_log_is_on(TRI_LOG_DEBUG) && !tri_log_is_on(TRI_LOG_TRACE), "levels");
    sink.rank = 2;
    tri_log(TRI_LOG_INFO, "here");
    tri_log_set(NULL);
    fclose(sink.terminal);
    fclose(sink.file);
    EXPECT(strcmp(terminal, "two ranks\nwarn: rank 0: slow disk\nrank 2: here\n") == 0, "%s",
           terminal);
    EXPECT(strstr(file, "Z debug bucket 3\n") && strstr(file, "Z warn  slow disk\n") &&
               !strstr(file, "event"),
           "%s", file);
    return TRI_OK;
}

TRI_TEST(level_names)
{
    tri_log_level level = TRI_LOG_ERROR;
    for (int i = 0; i < TRI_LOG_LEVELS; i++) {
        TRI_TRY(tri_log_level_find(tri_log_level_name((tri_log_level)i), &level));
        EXPECT((int)level == i, "%d", (int)level);
    }
    EXPECT_STATUS(tri_log_level_find("loud", &level), TRI_EINVAL, "error, warn, info, debug");
    return TRI_OK;
}

TRI_TEST_MAIN(TRI_TEST_ROW(levels_and_prefixes), TRI_TEST_ROW(level_names))
