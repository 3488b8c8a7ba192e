// SPDX-License-Identifier: Apache-2.0
/* Clipping by global norm (Pascanu et al., arXiv:1211.5063), torch's convention. */
#ifndef TRI_OPTIM_CLIP_H
#define TRI_OPTIM_CLIP_H

/* The factor for all gradients so that their norm is at most `clip`: min(1, clip / (norm + 1e-6));
 * 1 where clip is 0. Not collective: the caller has the norm of the whole. */
static inline double tri_clip_factor(double norm, double clip)
{
    if (clip <= 0) return 1;
    double factor = clip / (norm + 1e-6);
    return factor < 1 ? factor : 1;
}

#endif
