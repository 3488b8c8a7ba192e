// SPDX-License-Identifier: Apache-2.0
/* Reads /proc/self/status. */
#include "launch/resident.h"

#include "runtime/base/log.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A line "KEY  N kB" of /proc/self/status, in bytes. */
static size_t status_bytes(const char *key)
{
    FILE *file = fopen("/proc/self/status", "r");
    if (!file) return 0;
    char line[256];
    size_t bytes = 0;
    while (fgets(line, sizeof line, file))
        if (strncmp(line, key, strlen(key)) == 0)
            bytes = strtoull(line + strlen(key), NULL, 10) * 1024;
    fclose(file);
    return bytes;
}

size_t tri_resident_bytes(void)
{
    return status_bytes("RssAnon:");
}

bool tri_resident_peak_reset(void)
{
    malloc_trim(0);
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (!file) return false;
    bool written = fputs("5", file) >= 0; /* resets VmHWM to what is resident now */
    return fclose(file) == 0 && written;
}

size_t tri_resident_peak_bytes(void)
{
    return status_bytes("VmHWM:");
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
