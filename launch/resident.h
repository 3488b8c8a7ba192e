// SPDX-License-Identifier: Apache-2.0
/* What the system says of this process's memory. */
#ifndef TRI_LAUNCH_RESIDENT_H
#define TRI_LAUNCH_RESIDENT_H

#include "runtime/device.h"

/* Anonymous resident bytes of this process (RssAnon of /proc/self/status); 0 where the system does
 * not say. Not collective. */
size_t tri_resident_bytes(void);

/* Forget the most that was resident so far, and give unused heap back: what is the most after that is what
 * came since. False where the system does not let. Not collective. */
bool tri_resident_peak_reset(void);

/* The most bytes of this process that were resident since the start or the reset (VmHWM); 0 where the
 * system does not say. Not collective. */
size_t tri_resident_peak_bytes(void);

/* Log what `device` counts, by kind, and the resident bytes beyond that, at level info. Not
 * collective. */
void tri_resident_log(const tri_device *device);

#endif
