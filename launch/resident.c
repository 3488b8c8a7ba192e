// SPDX-License-Identifier: Apache-2.0
/* Reads /proc/self/status. */
#include "launch/resident.h"

#include "runtime/base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t tri_resident_bytes(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    if (!file) return 0;
    char line[256];
    size_t bytes = 0;
    while (fgets(line, sizeof line, file))
        if (strncmp(line, "RssAnon:", 8) == 0) bytes = strtoull(line + 8, NULL, 10) * 1024;
    fclose(file);
    return bytes;
}

void tri_resident_log(const tri_device *device)
{
    tri_memory memory = tri_device_memory(device);
    size_t counted = 0;
    char text[512];
    int at = 0;
    for (int kind = 0; kind < TRI_MEM_KINDS; kind++) {
        counted += memory.bytes[kind];
        if (memory.bytes[kind] == 0 || at >= (int)sizeof text) continue;
        at += snprintf(text + at, sizeof text - (size_t)at, ", %s %.1f",
                       tri_mem_name((tri_mem_kind)kind), (double)memory.bytes[kind] / 1048576);
    }
    double own = (double)(counted - memory.noted_bytes);
    double beyond = (double)tri_resident_bytes() - own;
    tri_log(TRI_LOG_INFO, "memory of rank 0: %.1f MiB counted (MiB%s); resident beyond it %.1f MiB",
            (double)counted / 1048576, counted ? text + 1 : "", beyond / 1048576);
}
