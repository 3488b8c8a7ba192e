// SPDX-License-Identifier: Apache-2.0
/* What the system says of this process's memory. */
#ifndef TRI_LAUNCH_RESIDENT_H
#define TRI_LAUNCH_RESIDENT_H

#include "runtime/device.h"

/* Anonymous resident bytes of this process (RssAnon of /proc/self/status); 0 where the system does
 * not say. Not collective. */
size_t tri_resident_bytes(void);

/* Log what `device` counts, by kind, and the resident bytes beyond that, at level info. Not
 * collective. */
void tri_resident_log(const tri_device *device);

#endif
