// SPDX-License-Identifier: Apache-2.0
/* What the ranks of a job can multiply: the denominator of the share of peak in the metrics. */
#ifndef TRI_LAUNCH_PEAK_H
#define TRI_LAUNCH_PEAK_H

#include "kernels/kernels.h"
#include "runtime/coll.h"

/* *flops_per_s = sum over ranks of the rate of square products of this type, best of several, all
 * ranks at the same time. Collective: world. Cost: about 0.1 s; its memory is given back. */
TRI_MUST_USE tri_status tri_peak_measure(tri_kernels *kernels, tri_dtype dtype, tri_comm *world,
                                         double *flops_per_s);

#endif
