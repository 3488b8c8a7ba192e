// SPDX-License-Identifier: Apache-2.0
/* The families, each in the file of its name; parallel/model/list.c is the list. */
#ifndef TRI_PARALLEL_MODEL_FAMILIES_H
#define TRI_PARALLEL_MODEL_FAMILIES_H

#include "parallel/model/model_impl.h"

/* GPT-2 (Radford et al. 2019). */
extern const tri_model_family tri_model_gpt2;

/* Llama (arXiv:2302.13971, grouped-query as in arXiv:2307.09288). */
extern const tri_model_family tri_model_llama;

#endif
